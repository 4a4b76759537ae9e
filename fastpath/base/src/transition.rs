//! State machines as tables. [`machine!`](crate::machine) declares states, events and every allowed
//! transition; anything else is a typed error, and the table can be printed as a matrix or a `dot` drawing.

/// A transition that the table does not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidTransition {
    /// Name of the state the machine was in.
    pub state: &'static str,
    /// Name of the event that came.
    pub event: &'static str,
}

impl core::fmt::Display for InvalidTransition {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "event {} is not allowed in state {}", self.event, self.state)
    }
}

/// Declares a state machine: `machine! { Peer, PeerEvent; on Heard: Late | Suspect => Alive; … }`.
///
/// It makes both enums, `state.on(event) -> Result<state, InvalidTransition>`, and `EDGES`
/// (event, from, to) from which drawings are made.
#[macro_export]
macro_rules! machine {
    (
        $(#[$sm:meta])* $vis:vis $state:ident { $($(#[$s_meta:meta])* $s:ident),+ $(,)? }
        $(#[$em:meta])* $event:ident { $($(#[$e_meta:meta])* $e:ident : $($from:ident)|+ => $to:ident);+ $(;)? }
    ) => {
        $(#[$sm])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        $vis enum $state { $($(#[$s_meta])* $s),+ }

        $(#[$em])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        $vis enum $event { $($(#[$e_meta])* $e),+ }

        impl $state {
            /// Every allowed transition as (event, from, to).
            $vis const EDGES: &'static [(&'static str, &'static str, &'static str)] =
                &[$($((stringify!($e), stringify!($from), stringify!($to))),+),+];

            /// The state after `event`, or the error that names both.
            $vis fn on(self, event: $event) -> Result<Self, $crate::transition::InvalidTransition> {
                match (event, self) {
                    $(($event::$e, $(Self::$from)|+) => Ok(Self::$to),)+
                    #[allow(unreachable_patterns)]
                    _ => Err($crate::transition::InvalidTransition {
                        state: self.name(),
                        event: match event { $($event::$e => stringify!($e)),+ },
                    }),
                }
            }

            /// The state's name in lower case documents and traces.
            #[must_use]
            $vis const fn name(self) -> &'static str {
                match self { $(Self::$s => stringify!($s)),+ }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    crate::machine! {
        /// A door.
        Door { /** shut */ Shut, /** open */ Open, /** locked */ Locked }
        /// What happens to a door.
        DoorEvent { /** push */ Push: Shut => Open; /** pull */ Pull: Open => Shut; /** key */ Key: Shut | Locked => Locked }
    }

    #[test]
    fn the_table_allows_what_it_lists_and_names_what_it_refuses() {
        assert_eq!(Door::Shut.on(DoorEvent::Push), Ok(Door::Open));
        let refused = Door::Locked.on(DoorEvent::Push).unwrap_err();
        assert_eq!(refused.to_string(), "event Push is not allowed in state Locked");
        assert_eq!(Door::Open.on(DoorEvent::Pull), Ok(Door::Shut));
        assert_eq!(Door::Shut.on(DoorEvent::Key), Ok(Door::Locked));
        assert_eq!(Door::EDGES.len(), 4);
    }
}
