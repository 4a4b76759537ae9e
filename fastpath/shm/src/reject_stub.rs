#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    A,
    B,
}
impl Reject {
    pub const COUNT: usize = 2;
    pub const ALL: [Self; 2] = [Self::A, Self::B];
    pub const fn index(self) -> usize {
        self as usize
    }
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}
