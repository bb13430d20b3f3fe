// SPDX-License-Identifier: Apache-2.0
// The flash of a Pico and the serial interface in front of it. rp2040js has neither: it lets the
// core read, and even write, the flash at any time. On the chip it can be read only after the
// second stage of booting has brought interface and flash into agreement, and not while it is
// programmed.
//
// Sources: RP2040 datasheet, 4.10 (SSI) and 2.8.3.1.3 (functions of the bootrom); data sheet of the
// W25Q16JV, chapter 8.
import { BasePeripheral } from './package.mjs';

const CTRLR0 = 0x00;
const CTRLR1 = 0x04;
const SSIENR = 0x08;
const SER = 0x10;
const BAUDR = 0x14;
const SR = 0x28;
const DR0 = 0x60;
const RX_SAMPLE_DLY = 0xf0;
const SPI_CTRLR0 = 0xf4;

const SR_BUSY = 1 << 0;
const SR_TRANSMIT_NOT_FULL = 1 << 1;
const SR_TRANSMIT_EMPTY = 1 << 2;
const SR_RECEIVED = 1 << 3;
const FIFO_FRAMES = 16;

// Fields of CTRLR0 and SPI_CTRLR0 that matter here.
const BYTES_BOTH_WAYS = 7 << 16;
const SERIAL_READ = (31 << 16) | (3 << 8);
const QUAD_READ = (2 << 21) | SERIAL_READ;
const FIRST_QUAD = (4 << 11) | (2 << 8) | (8 << 2) | 1;
const CONTINUOUS_QUAD = ((0xa0 << 24) | (4 << 11) | (8 << 2) | 2) >>> 0;
const SERIAL_03H = ((0x03 << 24) | (2 << 8) | (6 << 2)) >>> 0;

const BUSY = 1 << 0;
const WRITE_ENABLED = 1 << 1;
const QUAD_ENABLED = 1 << 1;
// How often a program reads that the flash is busy before it is done.
const BUSY_POLLS = 3;

const READ_QUAD_IO = 0xeb;

/** A misuse of the flash that would hang or corrupt a real board. */
export class FlashError extends Error {}

/** The W25Q16JV of a Pico: the commands that its second stage of booting needs. */
class NorFlash {
  constructor(bytes) {
    this.bytes = bytes;
    // Without the factory's setting of the quad-enable bit, which not every W25Q has.
    this.status = [0, 0];
    this.continuous = false;
    this.polls = 0;
    this.command = [];
  }

  /** One byte in, while one comes out. */
  exchange(value) {
    if (this.continuous) {
      throw new FlashError('a command was sent to the flash while it reads continuously');
    }
    this.command.push(value);
    const [code, ...rest] = this.command;
    if (rest.length === 0) {
      return 0xff;
    }
    if (code === 0x05) {
      const status = this.status[0] | (this.polls > 0 ? BUSY : 0);
      this.polls = Math.max(0, this.polls - 1);
      return status;
    }
    return code === 0x35 ? this.status[1] : 0xff;
  }

  /** Chip select goes up: a command that changes something takes effect. */
  deselect() {
    const [code, ...rest] = this.command;
    this.command = [];
    if (code === undefined || code === 0x05 || code === 0x35) {
      return;
    }
    if (this.polls > 0) {
      throw new FlashError(`command ${code.toString(16)} was sent while the flash is busy`);
    }
    if (code === 0x06) {
      this.status[0] |= WRITE_ENABLED;
    } else if (code === 0x01 && this.status[0] & WRITE_ENABLED && rest.length > 0) {
      this.status = [rest[0] & 0xfc, rest.length > 1 ? rest[1] : this.status[1]];
      this.polls = BUSY_POLLS;
    } else {
      throw new FlashError(`command ${code.toString(16)} is not one that the flash expects here`);
    }
  }

  /** The first read of EBh. mode: what follows the address. */
  readQuad(mode) {
    if (this.polls > 0) {
      throw new FlashError('EBh was sent while the flash is busy');
    }
    if (!(this.status[1] & QUAD_ENABLED)) {
      throw new FlashError('EBh was sent while the quad-enable bit is off');
    }
    this.continuous = (mode & 0x30) === 0x20;
  }
}

/** The SSI of the RP2040 with the flash behind it, in place of rp2040js's own. */
export class Ssi extends BasePeripheral {
  /**
   * @param {Clock} clock
   * @param {(on: boolean) => void} onXip told whether the flash can be read at its addresses
   */
  constructor(chip, bytes, clock, onXip) {
    super(chip, 'SSI');
    this.flash = new NorFlash(bytes);
    this.clock = clock;
    this.onXip = onXip;
    this.stale = false;
    this.received = [];
    this.sentAt = 0; // nanoseconds
    this.words = [];
    this.leaveXip();
  }

  /** As the bootrom leaves it: off, chip select ready, the flash taking commands. */
  leaveXip() {
    this.settings = { [CTRLR0]: 0, [CTRLR1]: 0, [SSIENR]: 0, [SER]: 1, [BAUDR]: 6 };
    this.settings[RX_SAMPLE_DLY] = 0;
    this.settings[SPI_CTRLR0] = 0;
    this.flash.continuous = false;
    this.received = [];
    this.switchXip(false);
  }

  switchXip(on) {
    this.xip = on;
    this.onXip(on);
  }

  /** As the bootrom makes the flash readable again: slowly. */
  enterSerialXip() {
    this.set(SSIENR, 0);
    this.set(CTRLR0, SERIAL_READ);
    this.set(SPI_CTRLR0, SERIAL_03H);
    this.set(SSIENR, 1);
  }

  readUint32(offset) {
    this.settle();
    if (offset === SR) {
      const sending = this.clock.nanos < this.sentAt;
      return (
        SR_TRANSMIT_NOT_FULL |
        (sending ? SR_BUSY : SR_TRANSMIT_EMPTY) |
        (this.received.length > 0 && !sending ? SR_RECEIVED : 0)
      );
    }
    if (offset === DR0) {
      return this.received.shift() ?? 0;
    }
    return this.settings[offset] ?? 0;
  }

  writeUint32(offset, value) {
    this.settle();
    if (offset === DR0) {
      this.send(value >>> 0);
    } else {
      this.set(offset, value >>> 0);
    }
  }

  set(offset, value) {
    if (offset !== SSIENR && this.settings[SSIENR]) {
      throw new FlashError(`SSI register 0x${offset.toString(16)} was written while the SSI is on`);
    }
    this.settings[offset] = value;
    if (offset !== SSIENR) {
      return;
    }
    this.received = [];
    this.words = [];
    const control = this.settings[CTRLR0];
    const spi = this.settings[SPI_CTRLR0];
    const isQuad = control === QUAD_READ && spi === CONTINUOUS_QUAD && this.flash.continuous;
    const isSerial = control === SERIAL_READ && spi === SERIAL_03H && !this.flash.continuous;
    const on = Boolean(value & this.settings[SER] && (isQuad || isSerial));
    if (on && this.stale) {
      throw new FlashError('the XIP cache was not flushed after the flash had been changed');
    }
    this.switchXip(on);
  }

  /** A frame into the transmitter, which takes chip select down and begins at once. */
  send(value) {
    const control = this.settings[CTRLR0];
    if (!this.settings[SSIENR] || !this.settings[SER]) {
      throw new FlashError('a frame was given to the SSI while it is off');
    }
    let clocks = 8;
    if (control === BYTES_BOTH_WAYS) {
      if (this.received.length === FIFO_FRAMES) {
        throw new FlashError('the SSI had no room for what the flash has answered');
      }
      this.received.push(this.flash.exchange(value & 0xff));
    } else if (control === QUAD_READ && this.settings[SPI_CTRLR0] === FIRST_QUAD) {
      // The instruction, then an address word whose low byte is the mode.
      this.words.push(value);
      if (this.words.length === 2 && this.words[0] === READ_QUAD_IO) {
        this.flash.readQuad(value & 0xff);
        this.received.push(0);
      }
      clocks = 20;
    } else {
      throw new FlashError(`a frame was sent with settings 0x${control.toString(16)} in CTRLR0`);
    }
    const { nanos, cycleNanos } = this.clock;
    this.sentAt = Math.max(this.sentAt, nanos) + clocks * this.settings[BAUDR] * cycleNanos;
  }

  /** Chip select goes up as soon as the transmitter has run empty. */
  settle() {
    if (this.clock.nanos >= this.sentAt) {
      this.flash.deselect();
    }
  }
}

// --- Bootrom -----------------------------------------------------------------------------------

const FUNCTIONS = 0x100; // where the table of functions stands in our bootrom
const CODE = 0x200;
const BKPT = 0xbe00;
const BX_LR = 0x4770;
const SECTOR_BYTES = 4096;
const PAGE_BYTES = 256;

const code = (name) => name.charCodeAt(0) | (name.charCodeAt(1) << 8);

/**
 * The functions of the bootrom that concern the flash. Each is a breakpoint and a return in our
 * bootrom, which firmware finds as in the chip's: by the tables whose addresses stand at 0x14.
 */
export class Bootrom {
  constructor(chip, ssi) {
    this.chip = chip;
    this.ssi = ssi;
    const calls = {
      IF: () => {}, // connect_internal_flash
      EX: () => ssi.leaveXip(), // flash_exit_xip
      RE: () => this.erase(), // flash_range_erase
      RP: () => this.program(), // flash_range_program
      FC: () => (ssi.stale = false), // flash_flush_cache
      CX: () => ssi.enterSerialXip(), // flash_enter_cmd_xip
    };
    this.calls = [() => this.lookUp(), ...Object.values(calls)];
    const rom = new DataView(chip.bootrom.buffer);
    rom.setUint32(0x10, 0x0301754d, true); // "Mu", 1, and the third version
    rom.setUint16(0x14, FUNCTIONS, true);
    rom.setUint16(0x16, FUNCTIONS + 4 * Object.keys(calls).length, true); // an empty table of data
    rom.setUint16(0x18, CODE | 1, true);
    this.calls.forEach((_, i) => {
      rom.setUint16(CODE + 4 * i, BKPT | i, true);
      rom.setUint16(CODE + 4 * i + 2, BX_LR, true);
    });
    Object.keys(calls).forEach((name, i) => {
      rom.setUint16(FUNCTIONS + 4 * i, code(name), true);
      rom.setUint16(FUNCTIONS + 4 * i + 2, (CODE + 4 * (i + 1)) | 1, true);
    });
  }

  /** @returns whether the breakpoint is one of ours */
  call(number) {
    const pc = (this.chip.core.PC & ~1) >>> 0; // behind the breakpoint
    if (pc !== CODE + 4 * number + 2) {
      return false;
    }
    this.calls[number]();
    return true;
  }

  lookUp() {
    const { chip } = this;
    const [table, wanted] = chip.core.registers;
    let entry = table;
    while (chip.readUint16(entry) !== 0 && chip.readUint16(entry) !== (wanted & 0xffff)) {
      entry += 4;
    }
    chip.core.registers[0] = chip.readUint16(entry) === 0 ? 0 : chip.readUint16(entry + 2);
  }

  /** flash_range_erase(offset, bytes, block bytes, block command) */
  erase() {
    const [offset, count] = this.chip.core.registers;
    this.check(offset, count, SECTOR_BYTES);
    this.ssi.flash.bytes.fill(0xff, offset, offset + count);
  }

  /** flash_range_program(offset, data, bytes): bits can only be cleared. */
  program() {
    const [offset, data, count] = this.chip.core.registers;
    this.check(offset, count, PAGE_BYTES);
    for (let i = 0; i < count; i++) {
      this.ssi.flash.bytes[offset + i] &= this.chip.readUint8(data + i);
    }
  }

  check(offset, count, unit) {
    const { ssi } = this;
    if (offset % unit || count % unit || offset + count > ssi.flash.bytes.length) {
      throw new FlashError(`0x${offset.toString(16)}, ${count} bytes: no whole part of the flash`);
    }
    if (ssi.xip) {
      throw new FlashError('the flash was changed without flash_exit_xip before it');
    }
    ssi.stale = true;
  }
}
