//! What a person can do about each code. Pure.

use meridian_client::{Action, Code, Lost, Refusal};

pub(super) const UNREACHABLE: &str =
    "is a gateway running there? `meridian dev` starts one; --url names another";
pub(super) const LATER: &str = "try again later";
const CERTIFICATE: &str = "trust it with --certificate-hash or --ca";
const TOKEN: &str = "give a token that is good with --token-file, --token or MERIDIAN_TOKEN";
const AGAIN_WITH_ID: &str = "publish it again with the same --id: it is stored once";
const CURSOR: &str = "give a cursor of this channel, as `meridian history` prints them";

/// What to do about a refusal.
pub(super) fn for_refusal(refusal: &Refusal) -> String {
    if !refusal.elsewhere.is_empty() {
        let urls: Vec<&str> = refusal.elsewhere.iter().map(|place| place.url.as_str()).collect();
        return format!("connect there with --url: {}", urls.join(", "));
    }
    let advice = refusal.known_code().and_then(for_code);
    let advice = advice.unwrap_or_else(|| for_action(refusal.action)).to_owned();
    match refusal.retry_after_ms {
        Some(ms) if refusal.action == Action::Retry => format!("{advice}, after {ms} ms"),
        _ => advice,
    }
}

/// What to do without a connection, whose cause reads like this.
pub(super) fn for_lost(lost: &Lost, text: &str) -> &'static str {
    match lost {
        Lost::Transport(_) if text.contains("certificate") => CERTIFICATE,
        Lost::NoToken(_) => TOKEN,
        Lost::Handshake(_) | Lost::Malformed => "is it a Meridian gateway? --url names another",
        _ => UNREACHABLE,
    }
}

fn for_code(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::Unauthenticated | Code::TokenExpired | Code::TokenRevoked => TOKEN,
        Code::Forbidden => "ask for a token with this right, or take another channel",
        Code::BadCursor | Code::ForeignCursor | Code::CursorBeyondEnd => CURSOR,
        Code::NoSubscriber => "name one with --subscriber",
        Code::TakenOver => "stop the other one first, or take another --subscriber",
        Code::OutcomeUnknown => AGAIN_WITH_ID,
        Code::BadPayload => "--content-type says what the data is",
        Code::EventTooLarge => "send less",
        Code::NotYet => "this region gets there soon: try again",
        Code::HorizonPassed => "look whether it is stored; then publish it with another --id",
        Code::WrongRegion => "connect to a region that keeps them with --url",
        Code::Unsupported => "this channel or gateway does not offer it",
        _ => return None,
    })
}

fn for_action(action: Action) -> &'static str {
    match action {
        Action::Stop => "the same again will not do",
        Action::Refresh => TOKEN,
        Action::Resume | Action::Reconnect | Action::Retry => LATER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_advice_in_one_line() {
        for code in Code::ALL {
            let advice = for_refusal(&Refusal::of(*code));
            assert!(!advice.is_empty() && !advice.contains('\n'), "{}", code.name());
        }
        let later = for_refusal(&Refusal::of(Code::Overloaded).retry_after(300));
        assert_eq!(later, "try again later, after 300 ms");
    }
}
