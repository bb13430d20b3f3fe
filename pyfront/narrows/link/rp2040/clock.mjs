// SPDX-License-Identifier: Apache-2.0
// The time of the emulated chip. rp2040js's own clock is told of every instruction; this one
// follows the core's count of cycles, so an instruction costs nothing but itself.

class Alarm {
  constructor(clock, callback) {
    this.clock = clock;
    this.callback = callback;
    this.nanos = 0;
    this.scheduled = false;
  }

  schedule(deltaNanos) {
    this.cancel();
    this.nanos = this.clock.nanos + deltaNanos;
    this.clock.add(this);
  }

  cancel() {
    this.clock.remove(this);
  }
}

/** What rp2040js asks of a clock, and when the next alarm is due. */
export class Clock {
  constructor() {
    this.core = null;
    this.base = 0; // nanoseconds when the core's cycles were 0
    this.cycleNanos = 8;
    this.now = -1; // while an alarm is called: its time
    this.alarms = [];
    this.deadline = 0; // cycles of the core at which to look at the clock again
  }

  get nanos() {
    if (this.now >= 0) {
      return this.now;
    }
    return this.core === null ? this.base : this.base + this.core.cycles * this.cycleNanos;
  }

  get micros() {
    return this.nanos / 1000;
  }

  createAlarm(callback) {
    return new Alarm(this, callback);
  }

  get nanosToNextAlarm() {
    return this.alarms.length === 0 ? Infinity : Math.max(0, this.alarms[0].nanos - this.nanos);
  }

  /** A cycle has another length from now on. */
  setFrequency(hertz) {
    const nanos = 1e9 / hertz;
    this.base += this.core.cycles * (this.cycleNanos - nanos);
    this.cycleNanos = nanos;
    this.deadline = 0;
  }

  /** Count the core's cycles from 0 again, which keeps them small integers. */
  rebase() {
    this.base = this.nanos;
    this.core.cycles = 0;
  }

  /** Time in which the core does nothing. */
  pass(nanos) {
    this.base += nanos;
    this.fire();
  }

  /** Find the next deadline, `limit` at the latest. */
  arm(limit) {
    const next = this.alarms.length === 0 ? Infinity : this.alarms[0].nanos;
    this.deadline = Math.min(limit, Math.ceil((next - this.base) / this.cycleNanos));
  }

  /** Call all alarms that are due, each at its own time. */
  fire() {
    const { nanos } = this;
    while (this.alarms.length > 0 && this.alarms[0].nanos <= nanos) {
      const alarm = this.alarms.shift();
      alarm.scheduled = false;
      this.now = alarm.nanos;
      try {
        alarm.callback();
      } finally {
        this.now = -1;
      }
    }
  }

  add(alarm) {
    let place = this.alarms.length;
    while (place > 0 && this.alarms[place - 1].nanos > alarm.nanos) {
      place--;
    }
    this.alarms.splice(place, 0, alarm);
    alarm.scheduled = true;
    this.deadline = 0;
  }

  remove(alarm) {
    if (alarm.scheduled) {
      this.alarms.splice(this.alarms.indexOf(alarm), 1);
      alarm.scheduled = false;
    }
  }
}
