/** The driver sev-guest in a library that is compiled for the test, so that the very code that runs in a guest calls it. */

import { join } from 'node:path';

import koffi from 'koffi';

import { ioctlOf, type Ioctl } from '../../native/sev-guest/device.ts';
import { compileLibrary } from './programs.ts';

/** What the next requests meet. */
export interface DriverAnswers {
  readonly knowsExtended?: boolean;
  /** How many requests the host throttles first. */
  readonly busyAnswers?: number;
  readonly firmwareError?: number;
  readonly hostError?: number;
  readonly status?: number;
  readonly reportBytes?: number;
  readonly table?: Uint8Array;
  /** Room that the host asks for; that of the table unless it says otherwise. */
  readonly wantedBytes?: number;
}

export interface FakeDriver {
  readonly ioctl: Ioctl;
  answer(answers: DriverAnswers): void;
  /** Requests since the last `answer`. */
  readonly calls: number;
}

/** Compiles and loads it. @param folder for the library */
export async function buildFakeDriver(folder: string): Promise<FakeDriver> {
  const library = join(folder, 'sev-guest-driver.so');
  const source = join(import.meta.dirname, 'sev-guest-driver.c');
  await compileLibrary(source, library);
  const loaded = koffi.load(library);
  const reset = loaded.func('void driver_reset()') as () => void;
  const set = loaded.func('void driver_set(int, int, uint32_t, uint32_t, uint32_t, uint32_t)') as (
    ...values: readonly number[]
  ) => void;
  const setTable = loaded.func('void driver_set_table(void *, uint32_t, uint32_t)') as (
    bytes: Uint8Array,
    length: number,
    wanted: number,
  ) => void;
  const calls = loaded.func('int driver_calls()') as () => number;
  return {
    ioctl: ioctlOf(library),
    answer: (answers) => {
      const { busyAnswers = 0, firmwareError = 0, hostError = 0, status = 0, reportBytes = 1184 } = answers;
      reset();
      set(
        answers.knowsExtended === false ? 0 : 1,
        busyAnswers,
        firmwareError,
        hostError,
        status,
        reportBytes,
      );
      const { table = new Uint8Array() } = answers;
      setTable(table, table.length, answers.wantedBytes ?? Math.ceil(table.length / 4096) * 4096);
    },
    get calls() {
      return calls();
    },
  };
}
