//! eBPF instructions with labels, so that the program needs no C compiler where it is built or run.

/// One instruction as the kernel takes it (`struct bpf_insn`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}
const _: () = assert!(size_of::<Instruction>() == 8);

/// A register. R0 is a call's result, R1 to R5 its arguments (gone afterwards), R6 to R9 survive
/// calls, R10 is the end of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Register {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

/// How many bytes a load or store moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Width {
    /// One byte.
    Byte = 0x10,
    /// Two bytes.
    Half = 0x08,
    /// Four bytes.
    Word = 0x00,
    /// Eight bytes.
    Double = 0x18,
}

/// What a jump compares, unsigned where it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum If {
    /// Equal.
    Equal = 0x10,
    /// Greater or equal.
    AtLeast = 0x30,
    /// Not equal.
    Differs = 0x50,
    /// Less or equal.
    AtMost = 0xb0,
    /// Signed less: the error of a helper.
    Negative = 0xc0,
}

/// Arithmetic on 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Alu {
    /// Add.
    Add = 0x00,
    /// Bitwise and.
    And = 0x50,
    /// Shift left.
    ShiftLeft = 0x60,
    /// Shift right, filling with zeros.
    ShiftRight = 0x70,
    /// Copy.
    Move = 0xb0,
}

/// A place in the program that jumps lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// Why a program could not be put together: a mistake in this crate, found by its tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssemblyError {
    /// A jump leads to a label that was never placed.
    #[error("the jump at instruction {0} leads nowhere")]
    Unplaced(usize),
    /// A jump leads back: the gate's program has no loops.
    #[error("the jump at instruction {0} leads back")]
    Backward(usize),
    /// A jump is too long for its field.
    #[error("the jump at instruction {0} is too long")]
    TooLong(usize),
}

const CLASS_LOAD: u8 = 0x01;
const CLASS_STORE_IMMEDIATE: u8 = 0x02;
const CLASS_STORE: u8 = 0x03;
const CLASS_JUMP: u8 = 0x05;
const CLASS_ALU64: u8 = 0x07;
const MODE_MEMORY: u8 = 0x60;
const MODE_ATOMIC: u8 = 0xc0;
const SOURCE_REGISTER: u8 = 0x08;
const LOAD_IMMEDIATE_64: u8 = 0x18;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const ATOMIC_ADD: i32 = 0x00;
const ATOMIC_COMPARE_EXCHANGE: i32 = 0xf1;
/// `BPF_PSEUDO_MAP_FD`: the immediate is a descriptor, the register becomes the map.
const PSEUDO_MAP: u8 = 1;
/// `BPF_PSEUDO_MAP_VALUE`: the register becomes a pointer into the map's only value.
const PSEUDO_MAP_VALUE: u8 = 2;

/// Collects instructions; jumps are resolved by [`Assembler::finish`].
#[derive(Debug, Default)]
pub struct Assembler {
    code: Vec<Instruction>,
    /// Where each label is, once placed.
    labels: Vec<Option<usize>>,
    /// Jumps and their labels.
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    /// A label that is not yet placed.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Places a label before the next instruction.
    pub fn place(&mut self, label: Label) {
        if let Some(at) = self.labels.get_mut(label.0) {
            *at = Some(self.code.len());
        }
    }

    /// `to = op(to, value)`.
    pub fn alu(&mut self, op: Alu, to: Register, value: i32) {
        self.emit(CLASS_ALU64 | op as u8, to, Register::R0, 0, value);
    }

    /// `to = op(to, from)`.
    pub fn alu_with(&mut self, op: Alu, to: Register, from: Register) {
        self.emit(CLASS_ALU64 | SOURCE_REGISTER | op as u8, to, from, 0, 0);
    }

    /// `to = value`.
    pub fn set(&mut self, to: Register, value: i32) {
        self.alu(Alu::Move, to, value);
    }

    /// `to = from`.
    pub fn copy(&mut self, to: Register, from: Register) {
        self.alu_with(Alu::Move, to, from);
    }

    /// `to = memory[base + offset]`.
    pub fn load(&mut self, width: Width, to: Register, base: Register, offset: i16) {
        self.emit(CLASS_LOAD | MODE_MEMORY | width as u8, to, base, offset, 0);
    }

    /// `memory[base + offset] = value`.
    pub fn store(&mut self, width: Width, base: Register, offset: i16, value: i32) {
        let code = CLASS_STORE_IMMEDIATE | MODE_MEMORY | width as u8;
        self.emit(code, base, Register::R0, offset, value);
    }

    /// `memory[base + offset] += from`, eight bytes, atomically.
    pub fn atomic_add(&mut self, base: Register, offset: i16, from: Register) {
        let code = CLASS_STORE | MODE_ATOMIC | Width::Double as u8;
        self.emit(code, base, from, offset, ATOMIC_ADD);
    }

    /// If `memory[base + offset]` is R0, it becomes `from`; R0 becomes what was there.
    pub fn compare_exchange(&mut self, base: Register, offset: i16, from: Register) {
        let code = CLASS_STORE | MODE_ATOMIC | Width::Double as u8;
        self.emit(code, base, from, offset, ATOMIC_COMPARE_EXCHANGE);
    }

    /// `to` = the map with this descriptor, as an argument of a helper.
    pub fn map(&mut self, to: Register, descriptor: i32) {
        self.load_64(to, PSEUDO_MAP, descriptor, 0);
    }

    /// `to` = the place `offset` in the only value of the map with this descriptor.
    pub fn map_value(&mut self, to: Register, descriptor: i32, offset: i32) {
        self.load_64(to, PSEUDO_MAP_VALUE, descriptor, offset);
    }

    /// Goes to `label`.
    pub fn jump(&mut self, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.emit(CLASS_JUMP, Register::R0, Register::R0, 0, 0);
    }

    /// Goes to `label` if the register compares so with `value`.
    pub fn jump_if(&mut self, compare: If, register: Register, value: i32, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.emit(CLASS_JUMP | compare as u8, register, Register::R0, 0, value);
    }

    /// Goes to `label` if `left` compares so with `right`.
    pub fn jump_if_with(&mut self, compare: If, left: Register, right: Register, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.emit(CLASS_JUMP | SOURCE_REGISTER | compare as u8, left, right, 0, 0);
    }

    /// Calls a helper of the kernel.
    pub fn call(&mut self, helper: i32) {
        self.emit(CALL, Register::R0, Register::R0, 0, helper);
    }

    /// Ends with R0 as the result.
    pub fn exit(&mut self) {
        self.emit(EXIT, Register::R0, Register::R0, 0, 0);
    }

    /// Resolves the jumps.
    ///
    /// # Errors
    /// When a jump leads nowhere, back, or too far.
    pub fn finish(mut self) -> Result<Vec<Instruction>, AssemblyError> {
        for (at, label) in self.jumps {
            let place =
                self.labels.get(label.0).copied().flatten().ok_or(AssemblyError::Unplaced(at))?;
            let distance = place.checked_sub(at + 1).ok_or(AssemblyError::Backward(at))?;
            let offset = i16::try_from(distance).map_err(|_| AssemblyError::TooLong(at))?;
            if let Some(jump) = self.code.get_mut(at) {
                jump.offset = offset;
            }
        }
        Ok(self.code)
    }

    fn emit(&mut self, code: u8, to: Register, from: Register, offset: i16, immediate: i32) {
        // The kernel declares two bit fields of four bits: which comes first in the byte is a
        // matter of the byte order.
        let registers = if cfg!(target_endian = "little") {
            to as u8 | (from as u8) << 4
        } else {
            (to as u8) << 4 | from as u8
        };
        self.code.push(Instruction { code, registers, offset, immediate });
    }

    /// The only instruction that takes two places.
    fn load_64(&mut self, to: Register, pseudo: u8, low: i32, high: i32) {
        let from = if pseudo == PSEUDO_MAP { Register::R1 } else { Register::R2 };
        self.emit(LOAD_IMMEDIATE_64, to, from, 0, low);
        self.emit(0, Register::R0, Register::R0, 0, high);
    }
}

#[cfg(test)]
mod tests {
    use super::{Alu, Assembler, AssemblyError, If, Instruction, Register, Width};

    fn bytes(instruction: Instruction) -> [u8; 8] {
        let Instruction { code, registers, offset, immediate } = instruction;
        let [o0, o1] = offset.to_le_bytes();
        let [i0, i1, i2, i3] = immediate.to_le_bytes();
        [code, registers, o0, o1, i0, i1, i2, i3]
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn golden_instructions() {
        let mut it = Assembler::default();
        it.set(Register::R0, -1);
        it.alu_with(Alu::Add, Register::R7, Register::R8);
        it.load(Width::Half, Register::R8, Register::R10, -24);
        it.store(Width::Double, Register::R10, -16, 0);
        it.atomic_add(Register::R8, 64, Register::R2);
        it.compare_exchange(Register::R8, 8, Register::R2);
        it.map_value(Register::R1, 5, 128);
        it.call(125);
        it.exit();
        let code: Vec<_> = it.finish().unwrap().into_iter().map(bytes).collect();
        let expect = [
            [0xb7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
            [0x0f, 0x87, 0, 0, 0, 0, 0, 0],
            [0x69, 0xa8, 0xe8, 0xff, 0, 0, 0, 0],
            [0x7a, 0x0a, 0xf0, 0xff, 0, 0, 0, 0],
            [0xdb, 0x28, 64, 0, 0, 0, 0, 0],
            [0xdb, 0x28, 8, 0, 0xf1, 0, 0, 0],
            [0x18, 0x21, 0, 0, 5, 0, 0, 0],
            [0, 0, 0, 0, 128, 0, 0, 0],
            [0x85, 0, 0, 0, 125, 0, 0, 0],
            [0x95, 0, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(code, expect);
    }

    #[test]
    fn a_jump_skips_what_lies_between() {
        let mut it = Assembler::default();
        let end = it.label();
        it.jump_if(If::Equal, Register::R0, 0, end);
        it.set(Register::R0, 1);
        it.set(Register::R0, 2);
        it.place(end);
        it.exit();
        assert_eq!(it.finish().unwrap()[0].offset, 2);
    }

    #[test]
    fn wrong_jumps_are_found() {
        let mut it = Assembler::default();
        let nowhere = it.label();
        it.jump(nowhere);
        assert_eq!(it.finish(), Err(AssemblyError::Unplaced(0)));

        let mut it = Assembler::default();
        let before = it.label();
        it.place(before);
        it.set(Register::R0, 1);
        it.jump(before);
        assert_eq!(it.finish(), Err(AssemblyError::Backward(1)));

        let mut it = Assembler::default();
        let far = it.label();
        it.jump(far);
        (0..40_000).for_each(|_| it.set(Register::R0, 1));
        it.place(far);
        it.exit();
        assert_eq!(it.finish(), Err(AssemblyError::TooLong(0)));
    }
}
