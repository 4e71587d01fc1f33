//! Digits on their way out: rows of presses, one after another.

use std::collections::VecDeque;

use super::event::MediaEvent;
use super::events::EventQueue;
use crate::dtmf::sender::Sending;
use crate::dtmf::{DtmfSender, Press};
use crate::frame::FRAME_MS;

struct Row {
    id: u64,
    sender: DtmfSender,
    /// Presses were left out.
    given_up: bool,
}

/// The digits that are being sent, and those that wait.
#[derive(Default)]
pub(super) struct PressQueue {
    rows: VecDeque<Row>,
}

impl PressQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn push(
        &mut self,
        id: u64,
        presses: &[Press],
        tone_ms: u32,
        gap_ms: u32,
        clock_rate: u32,
    ) {
        let sender = DtmfSender::new(presses, tone_ms, gap_ms, clock_rate);
        self.rows.push_back(Row {
            id,
            sender,
            given_up: false,
        });
    }

    /// The event packet that takes the place of the next frame's audio: timestamp, marker and payload.
    pub(super) fn next(
        &mut self,
        timestamp: u32,
        events: &mut EventQueue,
    ) -> Option<(u32, bool, [u8; 4])> {
        while let Some(row) = self.rows.front_mut() {
            match row.sender.next(timestamp, FRAME_MS) {
                Sending::Event {
                    timestamp,
                    marker,
                    payload,
                } => return Some((timestamp, marker, payload)),
                Sending::Gap => return None,
                Sending::Done => {
                    events.push(MediaEvent::DigitsSent {
                        id: row.id,
                        complete: !row.given_up,
                    });
                    self.rows.pop_front();
                }
            }
        }
        None
    }

    /// Nothing can be sent for a while.
    pub(super) fn interrupt(&mut self) {
        if let Some(row) = self.rows.front_mut() {
            row.sender.interrupt();
        }
    }

    /// The peer takes no events: gives up everything that waits.
    pub(super) fn unsupported(&mut self, events: &mut EventQueue) {
        for row in self.rows.drain(..) {
            events.push(MediaEvent::DigitsUnsupported { id: row.id });
        }
    }

    /// Gives up what is not pressed yet; a key that is down comes up properly first.
    pub(super) fn stop(&mut self, id: u64, events: &mut EventQueue) {
        self.rows.retain_mut(|row| {
            if row.id != id {
                return true;
            }
            let keep = row.sender.is_in_press();
            row.given_up |= row.sender.give_up_rest();
            if !keep {
                events.push(MediaEvent::DigitsSent {
                    id,
                    complete: false,
                });
            }
            keep
        });
    }

    pub(super) fn stop_all(&mut self, events: &mut EventQueue) {
        for row in self.rows.drain(..) {
            events.push(MediaEvent::DigitsSent {
                id: row.id,
                complete: false,
            });
        }
    }
}
