//! Equal values once, named by a number; and what a step did, remembered.
//!
//! A state of the model names the cores that it contains by number. Cores repeat far more often than
//! states do: two states that differ in one message on its way share all of them. So a state is some
//! hundred bytes, and a core runs only for what it was never asked before.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock};

/// Values by number.
#[derive(Debug)]
pub struct Table<T>(RwLock<Values<T>>);

#[derive(Debug)]
struct Values<T> {
    numbers: HashMap<Arc<T>, u32>,
    values: Vec<Arc<T>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(RwLock::new(Values { numbers: HashMap::new(), values: Vec::new() }))
    }
}

impl<T: Eq + Hash> Table<T> {
    /// The number of a value; equal values have the same.
    pub fn number(&self, value: T) -> u32 {
        let known =
            self.0.read().unwrap_or_else(PoisonError::into_inner).numbers.get(&value).copied();
        if let Some(number) = known {
            return number;
        }
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = all.numbers.get(&value) {
            return *number;
        }
        let (number, value) = (all.values.len() as u32, Arc::new(value));
        all.values.push(Arc::clone(&value));
        all.numbers.insert(value, number);
        number
    }
    /// The value of a number that this table gave.
    pub fn value(&self, number: u32) -> Arc<T> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&all.values[number as usize])
    }
    /// How many different values there are.
    pub fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values.len()
    }
    /// True before the first value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a pure function gave for arguments it had before.
#[derive(Debug)]
pub struct Memo<K, V>(RwLock<HashMap<K, V>>);

impl<K, V> Default for Memo<K, V> {
    fn default() -> Self {
        Self(RwLock::new(HashMap::new()))
    }
}

impl<K: Eq + Hash, V: Clone> Memo<K, V> {
    /// The known result, or that of `run`.
    pub fn get(&self, key: K, run: impl FnOnce() -> V) -> V {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        known.unwrap_or_else(|| {
            let value = run();
            self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key, value.clone());
            value
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Memo, Table};

    #[test]
    fn equal_values_have_one_number() {
        let table = Table::default();
        assert_eq!(table.number("a"), 0);
        assert_eq!(table.number("b"), 1);
        assert_eq!(table.number("a"), 0);
        assert_eq!((*table.value(1), table.len()), ("b", 2));
    }

    #[test]
    fn what_is_remembered_is_not_run_again() {
        let memo = Memo::default();
        assert_eq!(memo.get(1, || "one"), "one");
        assert_eq!(memo.get(1, || "another"), "one");
    }
}
