//! What a node costs: the time of a core that its turns took, and the frames of its agreement.

use base::Duration;

/// Counted since the last time it was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Costs {
    /// Whose.
    pub(crate) node: u8,
    /// Of each turn that heard beats: the time of one beat.
    pub(crate) each_heard: Vec<Duration>,
    /// Beats heard.
    pub(crate) beats_heard: u64,
    /// Of each beat sent, to all peers.
    pub(crate) each_sent: Vec<Duration>,
    /// Length of the longest beat, with its header.
    pub(crate) beat_bytes: usize,
    /// All turns of fast.
    pub(crate) fast: Duration,
    /// All turns of control, how many they were, and the longest.
    pub(crate) control: Duration,
    pub(crate) turns: u64,
    pub(crate) longest: Duration,
    /// Messages of the agreement; one to all counts once.
    pub(crate) sent: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) received: u64,
    /// Messages for the stream, which is not here.
    pub(crate) too_large: u64,
    /// Turns that came so late that S10 applied.
    pub(crate) stalls: u64,
}

impl Costs {
    pub(crate) fn heard(&mut self, beats: usize, took: Duration) {
        if beats > 0 {
            self.beats_heard += beats as u64;
            self.each_heard.push(took / beats as u64);
        }
    }
    pub(crate) fn beat(&mut self, length: usize, took: Duration) {
        self.beat_bytes = self.beat_bytes.max(length);
        self.each_sent.push(took);
    }
    pub(crate) fn control(&mut self, took: Duration) {
        self.control = self.control + took;
        self.turns += 1;
        self.longest = self.longest.max(took);
    }
    /// The sum of both; of what is a maximum the larger one.
    pub(crate) fn add(&mut self, other: Self) {
        self.each_heard.extend(other.each_heard);
        self.beats_heard += other.beats_heard;
        self.each_sent.extend(other.each_sent);
        self.beat_bytes = self.beat_bytes.max(other.beat_bytes);
        self.fast = self.fast + other.fast;
        self.control = self.control + other.control;
        self.turns += other.turns;
        self.longest = self.longest.max(other.longest);
        self.sent += other.sent;
        self.sent_bytes += other.sent_bytes;
        self.received += other.received;
        self.too_large += other.too_large;
        self.stalls += other.stalls;
    }
}
