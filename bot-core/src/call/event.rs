//! What happens in a call, for those who want to watch it.

use std::time::Duration;

use callbot_media::leg::srtp::Profile;
use callbot_media::sdp::Keying;

use super::{HangupCause, Party};

/// One event of a call. Events are opt-in: a bot's linear body needs none.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CallEvent {
    /// A provisional response came: 180 rings, 183 says more.
    Progress {
        /// The status, 101 to 199.
        status: u16,
    },
    /// The call is established: answered and acknowledged.
    Answered,
    /// The first RTP packet of the far end came.
    MediaStarted,
    /// Media is secured (SRTP) from now on.
    MediaSecured {
        /// Where the keys come from.
        keying: Keying,
        /// Cipher and tag.
        profile: Profile,
    },
    /// Media is not secured any more: the far end offered plain RTP within the call, which
    /// [`SrtpPolicy::Optional`](crate::SrtpPolicy::Optional) takes. Where SRTP is required such an offer is refused (488), and
    /// the call goes on as it was.
    MediaUnsecured,
    /// A key went down.
    DigitStarted {
        /// `0`-`9`, `*`, `#`, `A`-`D`.
        digit: char,
    },
    /// A key came up.
    DigitEnded {
        /// `0`-`9`, `*`, `#`, `A`-`D`.
        digit: char,
        /// How long it was pressed.
        duration: Duration,
    },
    /// The far end began or ceased to speak.
    Voice {
        /// Whether it speaks now.
        speaking: bool,
    },
    /// The call was put on hold: by the far end, which keeps us from sending,
    /// or by us, who hear nothing of it.
    Held {
        /// Who holds.
        by: Party,
    },
    /// The call was taken off hold.
    Resumed {
        /// Who held.
        by: Party,
    },
    /// No RTP came for a while; the sentence names the likely cause.
    MediaLost {
        /// For example "no RTP for 10 s: the SDP says 10.0.0.5:4000, packets come from 203.0.113.9:6000".
        text: String,
    },
    /// RTP came again.
    MediaResumed,
    /// An INFO that bore no digit (RFC 6086).
    Info {
        /// Its Content-Type.
        content_type: String,
        /// Its body, as it came.
        body: Vec<u8>,
    },
    /// A MESSAGE in the call (RFC 3428).
    Message {
        /// Its Content-Type, usually `text/plain`.
        content_type: String,
        /// Its body, as it came.
        body: Vec<u8>,
    },
    /// The far end asks that we call somebody else in its place (REFER). What became of that is told by
    /// [`CallEvent::Transferred`]; it may also have been refused.
    TransferRequested {
        /// Whom it wants to be called, as a URI.
        to: String,
    },
    /// A transfer that we asked for goes on: the far end got this status from whom it calls.
    TransferProgress {
        /// 100 tries, 180 rings, 200 was answered; 300 and more: it failed.
        status: u16,
    },
    /// The call goes on with another far end: it was transferred, or replaced (RFC 3891).
    Transferred {
        /// Whose call it is now, as a URI.
        with: String,
    },
    /// The last event.
    Ended(HangupCause),
}
