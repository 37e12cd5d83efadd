//! Sends the cards of granted subjects over the Wiegand lines, on its own thread: a frame takes 70
//! ms, and the door's thread must not wait that long.

use super::worker::Worker;
use doorward_board::Active;
use doorward_board::controller::FRESH;
use doorward_board::linux::{Delay, GpioLine};
use doorward_board::wiegand::{Card, Format, Frame, Wiegand};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::error;

/// Starts the thread that sends cards. Each card comes with the time of its grant.
pub fn send_cards(
    mut lines: Wiegand<Active<GpioLine>>,
    cards: Arc<Mutex<Receiver<(Card, Instant)>>>,
    format: Format,
) -> std::io::Result<Worker> {
    Worker::start("wiegand", move |running| {
        let cards = cards.lock().unwrap_or_else(PoisonError::into_inner);
        while running.goes_on() {
            match cards.recv_timeout(Duration::from_millis(200)) {
                // The person may have left while the card waited for the lines.
                Ok((_, granted)) if granted.elapsed() > FRESH => {}
                Ok((card, _)) => {
                    match Frame::new(format, card).map(|frame| lines.send(&mut Delay, frame)) {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => error!("the Wiegand lines: {error:?}"),
                        Err(error) => error!("a card cannot be sent: {error}"),
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    })
}
