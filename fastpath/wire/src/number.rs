//! Little-endian numbers without alignment: what a frame's fields are made of.

use bytemuck::{Pod, Zeroable};

macro_rules! little_endian {
    ($($(#[$m:meta])* $name:ident($t:ty, $n:literal)),+ $(,)?) => {$(
        $(#[$m])*
        #[derive(Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
        #[repr(transparent)]
        pub struct $name([u8; $n]);
        impl $name {
            /// Stores a number.
            #[must_use]
            pub const fn new(value: $t) -> Self {
                Self(value.to_le_bytes())
            }
            /// The number.
            #[must_use]
            pub const fn get(self) -> $t {
                <$t>::from_le_bytes(self.0)
            }
        }
        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Debug::fmt(&self.get(), f)
            }
        }
    )+};
}
little_endian!(
    /** 16 bits. */ U16(u16, 2),
    /** 32 bits. */ U32(u32, 4),
    /** 64 bits. */ U64(u64, 8),
);
