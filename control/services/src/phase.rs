//! The life of one generation of a service.

base::machine! {
    /// Where a service stands by the agreed log.
    pub Phase {
        /// Nobody owns it, and nobody may start it now.
        Idle,
        /// Its owner is starting it.
        Starting,
        /// It runs.
        Running,
        /// Its owner is stopping it, so that another can own it.
        Stopping,
        /// Its owner is gone or cannot stop it, and the policy wants proof before the next one
        /// starts.
        WaitingForFence,
        /// It failed on every node that may run it, or its configuration forbids it.
        Failed
    }
    /// What happens to a service.
    PhaseEvent {
        /// The next generation has an owner.
        Assigned: Idle | Starting | Running | Stopping | WaitingForFence | Failed => Starting;
        /// The owner has brought it up.
        Started: Starting => Running;
        /// The owner is to stop it.
        Released: Starting | Running => Stopping;
        /// The end of the owner's generation is not proven.
        Unproven: Idle | Starting | Running | Stopping | Failed => WaitingForFence;
        /// Nobody owns it, and no node that may run it is there.
        Unplaced: Starting | Running | Stopping | WaitingForFence | Failed => Idle;
        /// Every node that may run it has failed.
        Exhausted: Idle | Starting | Running | Stopping | WaitingForFence => Failed;
    }
}

#[cfg(test)]
mod tests {
    use super::{Phase, PhaseEvent};

    #[test]
    fn only_a_start_leads_to_running() {
        let into: Vec<_> = Phase::EDGES.iter().filter(|e| e.2 == "Running").collect();
        assert_eq!(into, [&("Started", "Starting", "Running")]);
        assert!(Phase::Stopping.on(PhaseEvent::Started).is_err(), "a late Started changes nothing");
        assert!(Phase::WaitingForFence.on(PhaseEvent::Released).is_err());
    }

    #[test]
    fn the_drawing_is_the_table() {
        let mut drawing = String::from("digraph Phase {\n");
        for (event, from, to) in Phase::EDGES {
            drawing += &format!("  {from} -> {to} [label={event}];\n");
        }
        drawing += "}\n";
        assert_eq!(drawing, include_str!("../testdata/phase.dot"));
    }
}
