//! Which of the states that a power cut may leave an image has.

/// Something that persists up to some moment, independently of everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// The name space: a prefix of its operations.
    Names,
    /// The size of a file: a prefix of its changes.
    Size {
        /// Inode number.
        ino: u64,
    },
    /// Content of a file: one sector, or one page if pages do not tear.
    Content {
        /// Inode number.
        ino: u64,
        /// Index of the 4 KiB page.
        page: u64,
        /// Which sector of the page; 0 if pages do not tear.
        sector: u32,
    },
}

/// What is not durable at the moment of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pending {
    /// Operations on the name space.
    pub names: usize,
    /// Files with changes of content or size.
    pub files: usize,
    /// Units of content with more than one possible version.
    pub units: usize,
    /// Moment of the latest change of anything, counted in calls since the store was made.
    pub now: u64,
}

/// Decides what a power cut leaves.
pub trait CrashChoice {
    /// A new image of a moment at which `pending` is not durable.
    fn begin(&mut self, _pending: &Pending) {}

    /// How many of the changes of `unit`, made at the moments `times` in this order, have persisted:
    /// 0 is the durable state, `times.len()` the newest. Larger answers count as the newest.
    fn persisted(&mut self, unit: Unit, times: &[u64]) -> usize;
}

/// Everything that was written has persisted.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllNew;

impl CrashChoice for AllNew {
    fn persisted(&mut self, _unit: Unit, times: &[u64]) -> usize {
        times.len()
    }
}

/// Nothing has persisted that was not made durable.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllOld;

impl CrashChoice for AllOld {
    fn persisted(&mut self, _unit: Unit, _times: &[u64]) -> usize {
        0
    }
}

/// All states one by one, for moments with few of them.
///
/// Take an image, then [`Self::advance`], until that returns false.
#[derive(Debug, Clone, Default)]
pub struct EveryChoice {
    /// Answer and largest answer for each question of the image before.
    digits: Vec<(usize, usize)>,
    /// The next question.
    at: usize,
}

impl EveryChoice {
    /// Goes on to the next state; false if that was the last.
    pub fn advance(&mut self) -> bool {
        self.digits.truncate(self.at);
        while let Some((answer, largest)) = self.digits.pop() {
            if answer < largest {
                self.digits.push((answer + 1, largest));
                return true;
            }
        }
        false
    }
}

impl CrashChoice for EveryChoice {
    fn begin(&mut self, _pending: &Pending) {
        self.at = 0;
    }

    fn persisted(&mut self, _unit: Unit, times: &[u64]) -> usize {
        if self.at == self.digits.len() {
            self.digits.push((0, times.len()));
        }
        self.at += 1;
        self.digits[self.at - 1].0
    }
}

/// How a [`SeededChoice`] answers for content.
#[derive(Debug, Clone, Copy)]
enum Pattern {
    /// Nothing persisted.
    Old,
    /// Everything persisted.
    New,
    /// All but the unit with this number.
    AllBut(u64),
    /// Only the unit with this number.
    Only(u64),
    /// Any version of each unit.
    Uniform,
    /// Everything up to this moment.
    Prefix(u64),
    /// Each unit is old or new; new in this many of eight cases.
    Coin(u64),
    /// Each page is old or new as a whole.
    Pages(u64),
    /// Each file is old or new as a whole.
    Files(u64),
}

/// How a [`SeededChoice`] answers for what persists in order.
#[derive(Debug, Clone, Copy)]
enum Order {
    /// Nothing persisted.
    Old,
    /// Everything persisted.
    New,
    /// Any prefix.
    Uniform,
    /// Everything up to this moment.
    Prefix(u64),
}

/// A random choice that is the same for the same seed: half of its images have one of the extreme patterns
/// that hit faults most often, and the rest are mixtures.
#[derive(Debug, Clone)]
pub struct SeededChoice {
    /// State of the generator.
    state: u64,
    /// Units of content asked for in this image.
    asked: u64,
    /// How content persists.
    content: Pattern,
    /// How the name space persists.
    names: Order,
    /// How sizes persist.
    sizes: Order,
}

/// The output function of splitmix64.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl SeededChoice {
    /// A choice from `seed`. It can serve many images, each of which differs.
    pub fn new(seed: u64) -> Self {
        Self { state: mix(seed), asked: 0, content: Pattern::New, names: Order::New, sizes: Order::New }
    }

    /// The next random number (splitmix64).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A random number below `bound`, or 0.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// How an ordered unit persists in one image.
    fn order(&mut self) -> Order {
        match self.below(4) {
            0 => Order::Old,
            1 | 2 => Order::New,
            _ => Order::Uniform,
        }
    }

    /// The answer for an ordered unit.
    fn ordered(&mut self, order: Order, times: &[u64]) -> usize {
        match order {
            Order::Old => 0,
            Order::New => times.len(),
            Order::Uniform => self.below(times.len() as u64 + 1) as usize,
            Order::Prefix(moment) => times.partition_point(|time| *time <= moment),
        }
    }

    /// The answer for the content of `page` of file `ino`.
    fn content(&mut self, ino: u64, page: u64, times: &[u64]) -> usize {
        let number = self.asked;
        self.asked += 1;
        let is_new = match self.content {
            Pattern::Old => false,
            Pattern::New => true,
            Pattern::AllBut(odd) => number != odd,
            Pattern::Only(odd) => number == odd,
            Pattern::Uniform => return self.below(times.len() as u64 + 1) as usize,
            Pattern::Prefix(moment) => return times.partition_point(|time| *time <= moment),
            Pattern::Coin(eighths) => self.below(8) < eighths,
            Pattern::Pages(key) => mix(key ^ mix(ino) ^ page).is_multiple_of(2),
            Pattern::Files(key) => mix(key ^ ino).is_multiple_of(2),
        };
        if is_new { times.len() } else { 0 }
    }
}

impl CrashChoice for SeededChoice {
    fn begin(&mut self, pending: &Pending) {
        self.asked = 0;
        let odd = self.below(pending.units as u64);
        let moment = self.below(pending.now + 1);
        let key = self.next();
        self.names = self.order();
        self.sizes = self.order();
        self.content = match self.below(16) {
            0 => Pattern::Old,
            1 => Pattern::New,
            2..4 => Pattern::AllBut(odd),
            4..6 => Pattern::Only(odd),
            6..9 => Pattern::Uniform,
            9..11 => Pattern::Prefix(moment),
            11 => Pattern::Coin(1),
            12 => Pattern::Coin(4),
            13 => Pattern::Coin(7),
            14 => Pattern::Pages(key),
            _ => Pattern::Files(key),
        };
        // Half of the prefixes are prefixes of everything: a device that writes in order.
        if matches!(self.content, Pattern::Prefix(_)) && key.is_multiple_of(2) {
            self.names = Order::Prefix(moment);
            self.sizes = Order::Prefix(moment);
        }
    }

    fn persisted(&mut self, unit: Unit, times: &[u64]) -> usize {
        match unit {
            Unit::Names => self.ordered(self.names, times),
            Unit::Size { .. } => self.ordered(self.sizes, times),
            Unit::Content { ino, page, .. } => self.content(ino, page, times),
        }
    }
}
