/** libnvidia-nscq as a library that is compiled for the test, so that the very code that runs in a guest calls it. */

import { join } from 'node:path';

import koffi from 'koffi';

import { NONCE_BYTES } from '../../native/nvml/gpu.ts';
import type { FakeGpu } from './fake-nvml.ts';
import { compileLibrary } from './programs.ts';

/** How the answers of the fake differ from sound ones. */
export interface FakeNscqAnswers {
  /** `nscq_rc_t` of each answer. */
  readonly returned?: number;
  /** `nscq_tnvl_status_t`; 3 is locked. */
  readonly mode?: number;
  /** By how much the sizes that are reported are too large. */
  readonly more?: number;
  /** How often a switch answers one question. */
  readonly repeats?: number;
}

export interface FakeNscq {
  /** Path of the library. */
  readonly library: string;
  /** These switches, trusted NVLink locked, and nothing else of before. */
  reset(switches?: readonly FakeGpu[]): void;
  answer(answers: FakeNscqAnswers): void;
  /** Has a function of the header fail with a return code. */
  fail(name: string, code: number): void;
  /** How labels look, with the number of the switch as `%u`; an empty one never ends. */
  label(form: string): void;
  /** Whether questions hang. */
  hang(whether: 0 | 1): void;
  /** Sessions that are open. */
  sessions(): number;
}

const SIGNER = koffi.proto('uint32_t FakeNscqSigner(uint32_t device, void *nonce, void *report)');

/** Compiles and loads it. @param folder for the library */
export async function buildFakeNscq(folder: string): Promise<FakeNscq> {
  const library = join(folder, 'libnvidia-nscq.so.2');
  const source = join(import.meta.dirname, 'fake-nscq.c');
  await compileLibrary(source, library);
  const loaded = koffi.load(library);
  const reset = loaded.func('void fake_reset(uint32_t)') as (count: number) => void;
  const chain = loaded.func('void fake_chain(uint32_t, void *, uint32_t)') as (
    device: number,
    bytes: Uint8Array,
    length: number,
  ) => void;
  const answers = loaded.func('void fake_answers(int, int, uint32_t, uint32_t)') as (
    ...values: readonly number[]
  ) => void;
  const signer = loaded.func('fake_signer', 'void', [koffi.pointer(SIGNER)]) as (callback: unknown) => void;
  let present: readonly FakeGpu[] = [];
  const sign = koffi.register((device: number, nonce: bigint, room: bigint) => {
    // A call that was late may come back after the test has gone on.
    const asked = Uint8Array.from(koffi.decode(nonce, 'uint8_t', NONCE_BYTES) as Uint8Array);
    const report = present[device]?.report(asked);
    if (report === undefined || report.length === 0) return 0;
    koffi.encode(room, 'uint8_t', Array.from(report), report.length);
    return report.length;
  }, koffi.pointer(SIGNER));
  return {
    library,
    reset: (switches = []) => {
      present = switches;
      reset(switches.length);
      signer(sign);
      for (const [i, each] of switches.entries()) chain(i, each.chain, each.chain.length);
    },
    answer: ({ returned = 0, mode = 3, more = 0, repeats = 1 }) => {
      answers(returned, mode, more, repeats);
    },
    fail: loaded.func('void fake_fail(str, int)') as FakeNscq['fail'],
    label: loaded.func('void fake_label(str)') as FakeNscq['label'],
    hang: loaded.func('void fake_hang(int)') as FakeNscq['hang'],
    sessions: loaded.func('int fake_sessions()') as FakeNscq['sessions'],
  };
}
