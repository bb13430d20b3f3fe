// SPDX-License-Identifier: Apache-2.0
// The RP2040 of rp2040js with the memory map of the chip: what is not there, not aligned or not
// readable now is a fault, as on the chip, where rp2040js goes on with a message or without one.
import { BasePeripheral, RP2040 } from './package.mjs';
import { Bootrom, Ssi } from './flash.mjs';

export const FLASH_BASE = 0x10000000;
export const FLASH_BYTES = 2 << 20;
const FLASH_END = 0x14000000; // four windows onto the same flash
const RAM_BASE = 0x20000000;
const RAM_BYTES = 264 << 10;
const RAM_END = RAM_BASE + RAM_BYTES;
const DPRAM_BASE = 0x50100000;
const DPRAM_BYTES = 4 << 10;
const SIO_BASE = 0xd0000000;
const SIO_BYTES = 0x200;
const SYSTEM_PAGE = 0xe000e; // address >>> 12
const AIRCR = 0xd0c;
const AIRCR_RESET = 0x05fa0004;
const SHPR2 = 0xd1c;
const SHPR3 = 0xd20;
const SSI_KEY = 0x18000;
const XIP_CONTROL_KEY = 0x14000;
const WATCHDOG_KEY = 0x40058;
const XIP_FLUSH = 4;

/** An access or an instruction that the core answers with a hard fault. */
export class Fault extends Error {
  constructor(what, address) {
    super(`${what} 0x${(address >>> 0).toString(16)}`);
    this.address = address >>> 0;
  }
}

/** Its cache in front of the flash, as far as firmware can tell. */
class XipControl extends BasePeripheral {
  constructor(chip, ssi) {
    super(chip, 'XIP_CTRL');
    this.ssi = ssi;
  }

  readUint32(offset) {
    return offset === 0 ? 3 : 0;
  }

  writeUint32(offset) {
    if (offset === XIP_FLUSH) {
      this.ssi.stale = false;
    }
  }
}

export class Chip extends RP2040 {
  /**
   * @param {Uint8Array} flash
   * @param {Uint8Array} ram what a reset leaves of it
   * @param {() => void} onReset firmware, or its watchdog, asks for a reset
   */
  constructor(clock, flash, ram, onReset) {
    super(clock);
    this.sram.set(ram);
    this.sram16 = new Uint16Array(this.sram.buffer);
    this.sram32 = new Uint32Array(this.sram.buffer);
    this.flash = flash;
    this.flash16 = new Uint16Array(flash.buffer);
    this.flash32 = new Uint32Array(flash.buffer);
    this.readable = 0; // bytes of the flash that can be read now
    this.onReset = onReset;
    clock.core = this.core;
    const onXip = (on) => (this.readable = on ? flash.length : 0);
    const ssi = new Ssi(this, flash, clock, onXip);
    const bootrom = new Bootrom(this, ssi);
    this.peripherals[SSI_KEY] = ssi;
    this.peripherals[XIP_CONTROL_KEY] = new XipControl(this, ssi);
    this.peripherals[WATCHDOG_KEY].onWatchdogTrigger = onReset;
    this.onBreak = (number) => {
      if (!bootrom.call(number)) {
        throw new Fault('a breakpoint without a debugger, before', this.core.PC);
      }
    };
    this.addClockListener((hertz) => clock.setFrequency(hertz));
    this.logger = {
      debug() {},
      info() {},
      error() {},
      warn: (component, message) => {
        if (component === 'CortexM0Core' && message.includes('Instruction at')) {
          throw new Fault('an undefined instruction, before', this.core.PC);
        }
      },
    };
  }

  readUint32(address) {
    const place = address >>> 0;
    if (place & 3) {
      throw new Fault('an unaligned read of', place);
    }
    if (place >= RAM_BASE && place < RAM_END) {
      return this.sram32[(place - RAM_BASE) >> 2];
    }
    if (place >= FLASH_BASE && place < FLASH_END) {
      const offset = place & 0xffffff;
      return offset < this.readable ? this.flash32[offset >> 2] : this.unreadable(place);
    }
    if (place < this.bootrom.byteLength) {
      return this.bootrom[place >> 2];
    }
    return this.readDevice(place);
  }

  readUint16(address) {
    const place = address >>> 0;
    if (place & 1) {
      throw new Fault('an unaligned read of', place);
    }
    if (place >= FLASH_BASE && place < FLASH_END) {
      const offset = place & 0xffffff;
      return offset < this.readable ? this.flash16[offset >> 1] : this.unreadable(place);
    }
    if (place >= RAM_BASE && place < RAM_END) {
      return this.sram16[(place - RAM_BASE) >> 1];
    }
    return (this.readUint32(place & ~3) >>> (8 * (place & 2))) & 0xffff;
  }

  readUint8(address) {
    const place = address >>> 0;
    if (place >= RAM_BASE && place < RAM_END) {
      return this.sram[place - RAM_BASE];
    }
    if (place >= FLASH_BASE && place < FLASH_END) {
      const offset = place & 0xffffff;
      return offset < this.readable ? this.flash[offset] : this.unreadable(place);
    }
    return (this.readUint32(place & ~3) >>> (8 * (place & 3))) & 0xff;
  }

  writeUint32(address, value) {
    const place = address >>> 0;
    if (place & 3) {
      throw new Fault('an unaligned write of', place);
    }
    if (place >= RAM_BASE && place < RAM_END) {
      this.sram32[(place - RAM_BASE) >> 2] = value;
    } else if (place >>> 12 === SYSTEM_PAGE && !this.isModelled(place & 0xfff)) {
      if ((place & 0xfff) === AIRCR && value >>> 0 === AIRCR_RESET) {
        this.onReset();
      }
    } else {
      this.checkDevice('a write to', place);
      super.writeUint32(place, value);
    }
  }

  writeUint16(address, value) {
    const place = address >>> 0;
    if (place & 1) {
      throw new Fault('an unaligned write of', place);
    }
    if (place >= RAM_BASE && place < RAM_END) {
      this.sram16[(place - RAM_BASE) >> 1] = value;
    } else {
      this.checkDevice('a write to', place);
      super.writeUint16(place, value);
    }
  }

  writeUint8(address, value) {
    const place = address >>> 0;
    if (place >= RAM_BASE && place < RAM_END) {
      this.sram[place - RAM_BASE] = value;
    } else {
      this.checkDevice('a write to', place);
      super.writeUint8(place, value);
    }
  }

  readDevice(place) {
    if (place >>> 12 === SYSTEM_PAGE && !this.isModelled(place & 0xfff)) {
      return 0;
    }
    this.checkDevice('a read of', place);
    return super.readUint32(place);
  }

  /** Of the core's own registers: rp2040js answers for the others that all their bits are set. */
  isModelled(offset) {
    return offset < AIRCR || offset === SHPR2 || offset === SHPR3;
  }

  checkDevice(what, place) {
    const known =
      this.findPeripheral(place) !== undefined ||
      place >>> 12 === SYSTEM_PAGE ||
      (place >= SIO_BASE && place < SIO_BASE + SIO_BYTES) ||
      (place >= DPRAM_BASE && place < DPRAM_BASE + DPRAM_BYTES);
    if (!known) {
      throw new Fault(what, place);
    }
  }

  unreadable(place) {
    throw new Fault(this.readable > 0 ? 'a read of' : 'the flash cannot be read now:', place);
  }
}
