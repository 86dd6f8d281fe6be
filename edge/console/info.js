// Owns what the page knows of its server: addresses, token and certificate, asked of the admin
// listener that the page came from. Keeps nothing.

/** What the page needs to connect. Throws where the admin listener does not answer. */
export async function fetchInfo() {
  const response = await fetch('/ops/v1/console', { cache: 'no-store', signal: AbortSignal.timeout(4_000) });
  if (!response.ok) throw new Error(`the admin listener answered ${response.status}`);
  const info = await response.json();
  return {
    url: info.client_url,
    token: info.token,
    /** Of a self-made certificate; `null`: none is taken that the browser does not trust. */
    certificateHash: info.certificate_hash ?? null,
    demo: info.demo ?? null,
    /** Where else to go: `{url, certificateHash}`. */
    regions: (info.regions ?? []).map(({ client_url, certificate_hash }) => ({ url: client_url, certificateHash: certificate_hash ?? null })),
    /** Whether the server tells how the regions are doing. */
    nodes: info.nodes ?? false,
    canFail: info.can_fail ?? false,
  };
}

/** How the regions are doing: `{region, state, lag, nodes, parts}` each. */
export async function fetchRegions() {
  const response = await fetch('/ops/v1/nodes', { cache: 'no-store', signal: AbortSignal.timeout(4_000) });
  if (!response.ok) throw new Error(`the admin listener answered ${response.status}`);
  return (await response.json()).regions;
}

/** Ends the page's own region as a crash would, for twenty seconds. */
export async function failRegion() {
  const response = await fetch('/ops/v1/fail', { method: 'POST', headers: { 'x-meridian-console': '1' } });
  if (!response.ok) throw new Error(`the admin listener answered ${response.status}`);
}

/** Whether a client made for `a` can go on with what `b` says. */
export function sameServer(a, b) {
  return a.url === b.url && a.certificateHash === b.certificateHash;
}
