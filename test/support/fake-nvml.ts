/** libnvidia-ml as a library that is compiled for the test, so that the very code that runs in a guest calls it. */

import { join } from 'node:path';

import koffi from 'koffi';

import { NONCE_BYTES } from '../../native/nvml/gpu.ts';
import type { SimulatedNvidiaDevice } from '../../src/agent/simulated/nvidia-device.ts';
import { signedReport } from '../../src/agent/simulated/nvidia-report.ts';
import { compileLibrary } from './programs.ts';

/** What a test may set: the state of machine and driver, and how they misbehave. */
export type FakeNvmlValue =
  | 'count'
  | 'architecture'
  | 'environment'
  | 'enabled'
  | 'devTools'
  | 'multiGpuMode'
  | 'fabricState'
  | 'ready'
  /** The settings say the opposite of the state. */
  | 'otherDevTools'
  /** By how much the sizes that are reported are too large. */
  | 'moreChain'
  | 'moreReport'
  /** The driver’s version has no end. */
  | 'endlessText'
  /** Setting the ready state succeeds and changes nothing. */
  | 'deaf';

/** What a GPU of the fake answers with. */
export interface FakeGpu {
  /** PEM. */
  readonly chain: Uint8Array;
  readonly report: (nonce: Uint8Array) => Uint8Array;
}

export interface FakeNvml {
  /** Path of the library. */
  readonly library: string;
  /** A sound confidential machine with these GPUs, not ready yet, and nothing else of before. */
  reset(gpus?: readonly FakeGpu[]): void;
  /** Puts another GPU in the place of one, while the library is open. */
  replace(index: number, gpu: FakeGpu): void;
  set(name: FakeNvmlValue, value: number): void;
  /** What the driver holds; also `initialised`, and `calls:FUNCTION`. */
  get(name: FakeNvmlValue | 'initialised' | `calls:${string}`): number;
  version(text: string): void;
  /** Has a function of nvml.h fail with a return code. */
  fail(name: string, code: number): void;
  /** Has a function of nvml.h not come back until `release`. */
  hang(name: string): void;
  release(): void;
}

const NVML_HOPPER = 9;
const ENVIRONMENT_PRODUCTION = 2;

/** A simulated device behind the interface of a library. */
export async function behindLibrary(device: SimulatedNvidiaDevice): Promise<FakeGpu> {
  const report = (nonce: Uint8Array): Uint8Array => signedReport(device.template, nonce, device.key);
  return { chain: await device.certificateChain(), report };
}

/** Compiles and loads it. @param folder for the library */
export async function buildFakeNvml(folder: string): Promise<FakeNvml> {
  const library = join(folder, 'libnvidia-ml.so.1');
  const source = join(import.meta.dirname, 'fake-nvml.c');
  await compileLibrary(source, library);
  const loaded = koffi.load(library);
  const set = loaded.func('void fake_set(str, uint32_t)') as FakeNvml['set'];
  const reset = loaded.func('void fake_reset()') as () => void;
  const chain = loaded.func('void fake_chain(uint32_t, void *, uint32_t)') as (
    gpu: number,
    bytes: Uint8Array,
    length: number,
  ) => void;
  const signer = loaded.func('fake_signer', 'void', [koffi.pointer(SIGNER)]) as (callback: unknown) => void;
  let present: readonly FakeGpu[] = [];
  const sign = koffi.register((gpu: number, nonce: bigint, room: bigint) => {
    // A call that was late may come back after the test has gone on.
    const report = present[gpu]?.report(
      Uint8Array.from(koffi.decode(nonce, 'uint8_t', NONCE_BYTES) as Uint8Array),
    );
    if (report === undefined || report.length === 0) return 0;
    koffi.encode(room, 'uint8_t', Array.from(report), report.length);
    return report.length;
  }, koffi.pointer(SIGNER));
  return {
    library,
    reset: (gpus = []) => {
      reset();
      present = gpus;
      signer(sign);
      set('count', gpus.length);
      set('architecture', NVML_HOPPER);
      set('environment', ENVIRONMENT_PRODUCTION);
      set('enabled', 1);
      for (const [i, gpu] of gpus.entries()) chain(i, gpu.chain, gpu.chain.length);
    },
    replace: (index, gpu) => {
      present = present.with(index, gpu);
      chain(index, gpu.chain, gpu.chain.length);
    },
    set,
    get: loaded.func('uint32_t fake_get(str)') as FakeNvml['get'],
    version: loaded.func('void fake_version(str)') as FakeNvml['version'],
    fail: loaded.func('void fake_fail(str, int)') as FakeNvml['fail'],
    hang: loaded.func('void fake_hang(str)') as FakeNvml['hang'],
    release: loaded.func('void fake_release()') as FakeNvml['release'],
  };
}

const SIGNER = koffi.proto('uint32_t FakeNvmlSigner(uint32_t gpu, void *nonce, void *report)');
