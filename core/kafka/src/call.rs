//! The answers of one append call. Owns who has been answered; a record that nobody answers is told what
//! is true of it when its ticket is dropped.

use std::sync::{Arc, Mutex, PoisonError};

use meridian_core::seams::AppendError;
use meridian_core::vocabulary::Offset;
use tokio::sync::oneshot;

pub(crate) type Answer = Result<Offset, AppendError>;

/// One record's claim to an answer.
pub(crate) struct Ticket {
    call: Arc<Call>,
    index: usize,
    answered: bool,
    handed_over: bool,
}

/// What the caller waits for.
pub(crate) struct Answers {
    call: Arc<Call>,
    done: oneshot::Receiver<()>,
}

struct Call {
    state: Mutex<State>,
}

struct State {
    answers: Vec<Option<Answer>>,
    open: usize,
    done: Option<oneshot::Sender<()>>,
}

/// A call of `count` records.
pub(crate) fn open(count: usize) -> (Vec<Ticket>, Answers) {
    let (done, finished) = oneshot::channel();
    let state = State { answers: vec![None; count], open: count, done: Some(done) };
    let call = Arc::new(Call { state: Mutex::new(state) });
    let ticket = |index| Ticket { call: call.clone(), index, answered: false, handed_over: false };
    ((0..count).map(ticket).collect(), Answers { call: call.clone(), done: finished })
}

impl Ticket {
    /// From now on the record may be stored.
    pub(crate) fn hand_over(&mut self) {
        self.handed_over = true;
    }

    /// Whether both belong to one call.
    pub(crate) fn is_of_the_call_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.call, &other.call)
    }

    pub(crate) fn answer(mut self, answer: Answer) {
        self.answered = true;
        self.call.answer(self.index, answer);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.answered {
            let unknown = self.handed_over;
            let error =
                if unknown { AppendError::OutcomeUnknown } else { AppendError::Unavailable };
            self.call.answer(self.index, Err(error));
        }
    }
}

impl Answers {
    /// Waits until all are answered or the future is dropped.
    pub(crate) async fn done(&mut self) {
        // An error means that all tickets are gone, and with that answered.
        let _ = (&mut self.done).await;
    }

    /// The answers so far; whoever has none may have been stored.
    pub(crate) fn take(self) -> Vec<Answer> {
        let mut state = self.call.state.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = state.answers.iter_mut();
        answers.map(|answer| answer.take().unwrap_or(Err(AppendError::OutcomeUnknown))).collect()
    }
}

impl Call {
    fn answer(&self, index: usize, answer: Answer) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = state.answers.get_mut(index) {
            *place = Some(answer);
        }
        state.open -= 1;
        if state.open == 0
            && let Some(done) = state.done.take()
        {
            let _ = done.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn dropped_tickets_are_told_the_truth() {
        let (mut tickets, mut answers) = open(3);
        tickets[1].hand_over();
        tickets.remove(2).answer(Ok(Offset(7)));
        drop(tickets);
        answers.done().await;
        let expected =
            [Err(AppendError::Unavailable), Err(AppendError::OutcomeUnknown), Ok(Offset(7))];
        assert_eq!(answers.take(), expected);
    }

    #[test]
    fn who_has_no_answer_yet_may_be_stored() {
        let (tickets, answers) = open(1);
        assert_eq!(answers.take(), [Err(AppendError::OutcomeUnknown)]);
        drop(tickets);
    }
}
