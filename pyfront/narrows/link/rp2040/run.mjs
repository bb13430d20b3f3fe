// SPDX-License-Identifier: Apache-2.0
// Runs a Raspberry Pi Pico in rp2040js, its UART0 on a TCP socket:
//   NARROWS_RP2040JS=FOLDER node run.mjs FIRMWARE.uf2 cycles|instructions
// FOLDER holds node_modules/rp2040js. A free port is chosen and printed; the chip starts when
// someone connects, and goes on when that one leaves. "instructions": each takes one cycle of the
// system clock, so that the chip's timer counts them.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { Machine } from './machine.mjs';

// Some milliseconds of this process, after which the socket has its turn.
const SLICE_CYCLES = 100_000;
const NANOS_PER_MILLISECOND = 1e6;

const [, , file, time] = process.argv;
const sent = [];
const arrived = [];
let connection = null;
let wake = () => {};

function flush() {
  if (sent.length > 0 && connection !== null) {
    connection.write(Buffer.from(sent));
  }
  sent.length = 0;
}

/** What was sent before still arrives. */
function fail(error) {
  console.error(error.name === 'Error' ? error.message : error);
  flush();
  if (connection === null) {
    process.exit(1);
  }
  connection.end(() => process.exit(1));
}
process.on('uncaughtException', fail);

const machine = new Machine(readFileSync(file), time === 'instructions', (byte) => sent.push(byte));

const server = createServer({ noDelay: true }, (socket) => {
  if (connection !== null) {
    socket.destroy();
    return;
  }
  connection = socket;
  socket.on('data', (bytes) => {
    arrived.push(bytes);
    wake();
  });
  socket.on('error', () => socket.destroy());
  socket.on('close', () => (connection = null));
  wake();
});
server.listen(0, '127.0.0.1', () => {
  console.log(`waiting for connection on tcp:127.0.0.1:${server.address().port}`);
});

/** Until something happens, at the latest after so many milliseconds. */
async function rest(milliseconds) {
  const timeout = new AbortController();
  const happened = new Promise((resolve) => (wake = resolve));
  const races = [happened];
  if (Number.isFinite(milliseconds)) {
    races.push(setTimeout(milliseconds, undefined, { signal: timeout.signal }).catch(() => {}));
  }
  await Promise.race(races);
  timeout.abort();
}

await rest(Infinity);
for (;;) {
  arrived.splice(0).forEach((bytes) => machine.receive(bytes));
  const sleeps = machine.run(SLICE_CYCLES);
  flush();
  if (sleeps && arrived.length === 0) {
    // The chip's time goes on as ours does while it waits for us.
    const due = machine.clock.nanosToNextAlarm;
    const began = performance.now();
    await rest(due / NANOS_PER_MILLISECOND);
    const passed = (performance.now() - began) * NANOS_PER_MILLISECOND;
    machine.clock.pass(Math.min(due, passed));
  } else {
    await setImmediate();
  }
}
