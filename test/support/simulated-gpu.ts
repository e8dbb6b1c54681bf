/** A simulated NVIDIA: all tests of a process share one, since only its keys matter. */

import { SimulatedVendor } from '../../src/agent/simulated/nvidia-vendor.ts';

let made: Promise<SimulatedVendor> | undefined;

/** Answers of its responders are good for a day from the first call. */
export function simulatedNvidia(): Promise<SimulatedVendor> {
  made ??= SimulatedVendor.create(Math.floor(Date.now() / 1000));
  return made;
}
