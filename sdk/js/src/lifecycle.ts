// Owns the page's and the network's signals: visible, frozen, resumed, online, offline, leaving.
// Does nothing where there is no document, and never decides what a signal means for the connection.

export interface LifecycleSignals {
  online(): void;
  offline(): void;
  /** The page stops to run until `woke`. */
  froze(): void;
  /** The page may have slept: back in view, resumed, or out of the back/forward cache. */
  woke(): void;
  /** The page may not run again: save what must be saved. */
  leaving(): void;
}

/** As much of `window` and `document` as signals need. */
export interface SignalTarget {
  addEventListener(type: string, listener: (event: never) => void): void;
  removeEventListener(type: string, listener: (event: never) => void): void;
}

export interface Page {
  readonly window: SignalTarget | undefined;
  readonly document: (SignalTarget & { readonly visibilityState?: string }) | undefined;
  readonly online: boolean;
}

export function currentPage(): Page {
  const scope = globalThis as {
    window?: SignalTarget;
    document?: SignalTarget;
    navigator?: { onLine?: boolean };
    addEventListener?: unknown;
  };
  const worker = typeof scope.addEventListener === 'function' ? (globalThis as unknown as SignalTarget) : undefined;
  const isNode = (globalThis as { process?: { versions?: { node?: string } } }).process?.versions?.node !== undefined;
  return {
    window: isNode ? undefined : (scope.window ?? worker),
    document: isNode ? undefined : scope.document,
    online: scope.navigator?.onLine !== false,
  };
}

/** Listens until the answered function is called. */
export function watchPage(page: Page, signals: LifecycleSignals): () => void {
  const listening: (() => void)[] = [];
  const on = (target: SignalTarget | undefined, type: string, run: (event: never) => void) => {
    if (!target) return;
    target.addEventListener(type, run);
    listening.push(() => target.removeEventListener(type, run));
  };
  on(page.window, 'online', () => signals.online());
  on(page.window, 'offline', () => signals.offline());
  on(page.window, 'pageshow', (event: { persisted?: boolean }) => {
    if (event.persisted) signals.woke();
  });
  on(page.window, 'pagehide', () => signals.leaving());
  on(page.document, 'freeze', () => {
    signals.leaving();
    signals.froze();
  });
  on(page.document, 'resume', () => signals.woke());
  on(page.document, 'visibilitychange', () => {
    if (page.document?.visibilityState === 'hidden') signals.leaving();
    else signals.woke();
  });
  return () => {
    for (const stop of listening) stop();
  };
}
