// SPDX-License-Identifier: Apache-2.0
// A Pico takes its firmware as a UF2 file: blocks of 512 bytes, each with 256 bytes of flash.

const BLOCK_BYTES = 512;
const PAYLOAD_BYTES = 256;
const PAYLOAD_OFFSET = 32;
const START_0 = 0x0a324655;
const START_1 = 0x9e5d5157;
const END = 0x0ab16f30;
const NOT_MAIN_FLASH = 0x1;
const FAMILY_PRESENT = 0x2000;

/**
 * Put the blocks of a UF2 file where they belong in the flash, as the bootrom of the chip does:
 * what is meant for another chip, or for another place than the flash, is an error here.
 *
 * @param {Buffer} file
 * @param {Uint8Array} flash its bytes
 * @param {number} base the address of the first
 * @param {number} family of the chip
 * @throws {Error} names the block that is wrong
 */
export function loadUf2(file, flash, base, family) {
  if (file.length === 0 || file.length % BLOCK_BYTES !== 0) {
    throw new Error(`not a UF2 file: ${file.length} bytes are no number of blocks`);
  }
  const blocks = file.length / BLOCK_BYTES;
  for (let number = 0; number < blocks; number++) {
    const block = file.subarray(number * BLOCK_BYTES, (number + 1) * BLOCK_BYTES);
    const word = (offset) => block.readUInt32LE(offset);
    const wrong = (what) => new Error(`UF2 block ${number}: ${what}`);
    if (word(0) !== START_0 || word(4) !== START_1 || word(BLOCK_BYTES - 4) !== END) {
      throw wrong('its magic numbers are not those of UF2');
    }
    if (word(8) & NOT_MAIN_FLASH) {
      continue;
    }
    if (!(word(8) & FAMILY_PRESENT) || word(28) !== family) {
      throw wrong(`it is not for the family 0x${family.toString(16)}`);
    }
    if (word(20) !== number || word(24) !== blocks) {
      throw wrong(`it says that it is number ${word(20)} of ${word(24)}, but there are ${blocks}`);
    }
    const offset = word(12) - base;
    if (word(16) !== PAYLOAD_BYTES || offset < 0 || offset % PAYLOAD_BYTES !== 0) {
      throw wrong('it does not hold 256 aligned bytes');
    }
    if (offset + PAYLOAD_BYTES > flash.length) {
      throw wrong(`address 0x${word(12).toString(16)} is not in the flash`);
    }
    flash.set(block.subarray(PAYLOAD_OFFSET, PAYLOAD_OFFSET + PAYLOAD_BYTES), offset);
  }
}
