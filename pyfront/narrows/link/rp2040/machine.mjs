// SPDX-License-Identifier: Apache-2.0
// A Raspberry Pi Pico: its chip, booted as the bootrom does it, and what arrives on its UART.
import { Chip, Fault, FLASH_BASE, FLASH_BYTES } from './chip.mjs';
import { Clock } from './clock.mjs';
import { FlashError } from './flash.mjs';
import { loadUf2 } from './uf2.mjs';

const FAMILY = 0xe48bff56;
const BOOT2_BYTES = 256;
const BOOT2_PLACE = 0x20041f00; // the end of the RAM, from where the bootrom runs it
const RAM_BASE = 0x20000000;
const RAM_BYTES = 264 << 10;
const HARD_FAULT = 3;
const NMI = 2;
const BITS_PER_BYTE = 10; // on the line: start bit, eight bits of data, stop bit

/** The firmware cannot go on, and a reset would not help. */
export class Stopped extends Error {}

/** Polynomial 0x04C11DB7, not reflected, first 0xFFFFFFFF, without a final XOR. */
function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte << 24;
    for (let bit = 0; bit < 8; bit++) {
      crc = crc & 0x80000000 ? (crc << 1) ^ 0x04c11db7 : crc << 1;
    }
  }
  return crc >>> 0;
}

export class Machine {
  /**
   * @param {Buffer} firmware a UF2 file
   * @param {boolean} counting whether every instruction takes one cycle, so that the timer counts
   *     them; otherwise it takes as many as rp2040js thinks
   * @param {(byte: number) => void} onByte what UART0 sends
   */
  constructor(firmware, counting, onByte) {
    this.counting = counting;
    this.onByte = onByte;
    this.flash = new Uint8Array(FLASH_BYTES).fill(0xff);
    this.ram = new Uint8Array(RAM_BYTES);
    this.arrived = []; // chunks that the UART has not seen yet
    this.place = 0; // in the first of them
    this.overruns = 0;
    this.resetting = false;
    this.reason = ''; // of the hard fault that is being taken
    loadUf2(firmware, this.flash, FLASH_BASE, FAMILY);
    this.boot();
  }

  boot() {
    const boot2 = this.flash.subarray(0, BOOT2_BYTES);
    const wanted = new DataView(this.flash.buffer).getUint32(BOOT2_BYTES - 4, true);
    if (crc32(boot2.subarray(0, BOOT2_BYTES - 4)) !== wanted) {
      throw new Stopped(
        'the first 256 bytes of the flash have a wrong checksum, so a Pico would not run them',
      );
    }
    this.ram.set(boot2, BOOT2_PLACE - RAM_BASE);
    this.clock = new Clock();
    this.chip = new Chip(this.clock, this.flash, this.ram, () => {
      this.resetting = true;
      this.clock.deadline = 0;
    });
    this.ram = this.chip.sram;
    this.uart = this.chip.uart[0];
    this.uart.onByte = this.onByte;
    this.receiving = this.clock.createAlarm(() => this.receiveByte());
    const { core } = this.chip;
    const enter = core.exceptionEntry.bind(core);
    core.exceptionEntry = (number) => this.takeException(number, enter);
    core.SP = BOOT2_PLACE;
    core.LR = 0;
    core.PC = BOOT2_PLACE;
  }

  /** Bytes for UART0. They arrive one after the other, as fast as its baud rate says. */
  receive(bytes) {
    this.arrived.push(bytes);
    this.listen();
  }

  /** The sender waits until the UART is on; from then on it does not care whether it is read. */
  listen() {
    const { uart } = this;
    if (this.arrived.length > 0 && !this.receiving.scheduled && uart.enabled && uart.rxEnabled) {
      this.receiving.schedule((BITS_PER_BYTE * 1e9) / uart.baudRate);
    }
  }

  receiveByte() {
    const { uart } = this;
    const [chunk] = this.arrived;
    const room = uart.fifosEnabled ? uart.rxFIFO.size : 1;
    if (uart.rxFIFO.itemCount < room) {
      uart.feedByte(chunk[this.place]);
    } else {
      this.overruns++;
    }
    this.place++;
    if (this.place === chunk.length) {
      this.arrived.shift();
      this.place = 0;
    }
    this.listen();
  }

  /**
   * Run for some cycles, or until the core sleeps and nothing is arriving.
   *
   * @returns {boolean} whether it sleeps
   */
  run(cycles) {
    const { clock } = this;
    clock.rebase();
    this.listen();
    while (this.clock === clock && clock.core.cycles < cycles) {
      const { core } = clock;
      // An interrupt that was pending before the core went to sleep does not wake rp2040js's.
      if (core.waiting && core.checkForInterrupts()) {
        core.waiting = false;
      }
      if (!core.waiting) {
        this.execute(cycles);
      } else if (this.receiving.scheduled) {
        clock.pass(clock.nanosToNextAlarm);
      } else {
        return true;
      }
      if (this.resetting) {
        this.resetting = false;
        this.boot();
      }
    }
    return false;
  }

  execute(cycles) {
    const { clock, counting } = this;
    const { core } = clock;
    clock.arm(cycles);
    try {
      if (counting) {
        let count = core.cycles;
        while (count < clock.deadline && !core.waiting) {
          core.executeInstruction();
          core.cycles = ++count;
        }
      } else {
        while (core.cycles < clock.deadline && !core.waiting) {
          core.executeInstruction();
        }
      }
    } catch (error) {
      this.fail(error);
    }
    clock.fire();
  }

  /** What an instruction has thrown. */
  fail(error) {
    const { core } = this.chip;
    const pc = (core.PC & ~1) >>> 0;
    // rp2040js has already gone on, except where it could not even fetch the instruction.
    const place = error instanceof Fault && error.address === pc ? pc : pc - 2;
    const where = `(at 0x${place.toString(16)})`;
    if (error instanceof FlashError) {
      throw new Stopped(`${error.message} ${where}`);
    }
    if (!(error instanceof Fault)) {
      throw error;
    }
    if (core.IPSR === HARD_FAULT || core.IPSR === NMI) {
      throw new Stopped(`the core has locked up: ${error.message} ${where}`);
    }
    core.PC = place;
    this.reason = `${error.message} ${where}`;
    core.exceptionEntry(HARD_FAULT);
  }

  /** An exception whose stack or vector faults becomes a hard fault; that itself locks up. */
  takeException(number, enter) {
    const { core } = this.chip;
    try {
      enter(number);
    } catch (error) {
      if (!(error instanceof Fault)) {
        throw error;
      }
      const before = number === HARD_FAULT ? `${this.reason}, then ` : '';
      const reason = `${before}${error.message} (taking exception ${number})`;
      if (number <= HARD_FAULT) {
        throw new Stopped(`the core has locked up: ${reason}`);
      }
      this.reason = reason;
      this.takeException(HARD_FAULT, enter);
    }
  }
}
