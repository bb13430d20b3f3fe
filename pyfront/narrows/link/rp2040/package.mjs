// SPDX-License-Identifier: Apache-2.0
// The emulator, from the folder that it was installed into with npm.
import { createRequire } from 'node:module';
import { resolve } from 'node:path';

const folder = process.env.NARROWS_RP2040JS;
const require = createRequire(resolve(folder, 'resolve.js'));

export const { BasePeripheral, RP2040 } = require('rp2040js');
