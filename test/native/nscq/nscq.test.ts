import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

import { NscqSystem } from '../../../native/nscq/nscq.ts';
import { buildFakeNscq, type FakeNscq, type FakeNscqAnswers } from '../../support/fake-nscq.ts';
import type { FakeGpu } from '../../support/fake-nvml.ts';
import { missingCompiler } from '../../support/programs.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';

const NONCE = new Uint8Array(32).map((_byte, i) => 200 - i);

/** A switch whose report is its number and then the nonce, again and again. */
function plainSwitch(number: number, reportBytes = 2248): FakeGpu {
  const chain = new Uint8Array(4700).fill(80 + number);
  const report = (nonce: Uint8Array): Uint8Array =>
    Uint8Array.from({ length: reportBytes }, (_, i) => (i === 0 ? number : nonce[(i - 1) % 32]!));
  return { chain, report };
}

const missing = missingCompiler();

describe.skipIf(missing.length > 0)(`switches by NSCQ (missing: ${missing.join(', ') || 'nothing'})`, () => {
  let folder: string;
  let nscq: FakeNscq;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'weightgate-nscq-'));
    nscq = await buildFakeNscq(folder);
  });
  afterEach(() => {
    expect(nscq.sessions()).toBe(0);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  async function opened<T>(use: (system: NscqSystem) => Promise<T>): Promise<T> {
    const system = await NscqSystem.open({ library: nscq.library });
    try {
      return await use(system);
    } finally {
      await system.close();
    }
  }

  const nothing = (): Promise<void> => Promise.resolve();

  it('NA-16: asks each switch with the nonce, and cuts report and chain to their sizes', async () => {
    const switches = [plainSwitch(0), plainSwitch(1), plainSwitch(2), plainSwitch(3, 0x2000)];
    nscq.reset(switches);
    await opened(async (system) => {
      expect(system.switches.map(({ name }) => name)).toEqual(
        [0, 1, 2, 3].map((i) => `SWX-0000000${i}-0000`),
      );
      const reports = await Promise.all(system.switches.map((each) => each.attestationReport(NONCE)));
      expect(reports).toEqual(switches.map(({ report }) => report(NONCE)));
      for (const [i, each] of system.switches.entries()) {
        expect(await each.certificateChain()).toEqual(switches[i]!.chain);
        expect(await each.trustedNvlink()).toBe('locked');
      }
    });
  });

  it('finds no switch where there is none', async () => {
    nscq.reset();
    expect(await opened(({ switches }) => Promise.resolve(switches.length))).toBe(0);
  });

  it('NA-7: refuses more switches than a machine can have', async () => {
    nscq.reset(Array.from({ length: 17 }, (_, i) => plainSwitch(i % 4)));
    expect(await refusalCodeAsync(() => opened(nothing))).toBe('nscq-answer');
  });

  it.each([
    ['a size of more than its room', { more: 0x2000 }],
    ['two answers to one question', { repeats: 2 }],
    ['no answer', { repeats: 0 }],
  ] satisfies [string, FakeNscqAnswers][])('NA-4: refuses %s', async (_name, answers) => {
    nscq.reset([plainSwitch(0)]);
    await opened(async ({ switches: [only] }) => {
      nscq.answer(answers);
      expect(await refusalCodeAsync(() => only!.attestationReport(NONCE))).toBe('nscq-answer');
      expect(await refusalCodeAsync(() => only!.certificateChain())).toBe('nscq-answer');
    });
  });

  it('NA-4: refuses a report and a chain of no bytes, an unknown mode, and a nonce of another length', async () => {
    nscq.reset([{ chain: new Uint8Array(), report: () => new Uint8Array() }]);
    await opened(async ({ switches: [only] }) => {
      nscq.answer({ mode: 4 });
      expect(await refusalCodeAsync(() => only!.attestationReport(NONCE))).toBe('nscq-answer');
      expect(await refusalCodeAsync(() => only!.certificateChain())).toBe('nscq-answer');
      expect(await refusalCodeAsync(() => only!.trustedNvlink())).toBe('nscq-answer');
      expect(await refusalCodeAsync(() => only!.attestationReport(NONCE.subarray(1)))).toBe('nscq-answer');
    });
  });

  it.each(['', '../config', 'SWX %u'])(
    'NA-4: refuses the label %j, which would stand in a path',
    async (form) => {
      nscq.reset([plainSwitch(0)]);
      nscq.label(form);
      expect(await refusalCodeAsync(() => opened(nothing))).toBe('nscq-answer');
    },
  );

  it.each([
    [-1, 'NOT_IMPLEMENTED (-1)'],
    [-7, 'DRV (-7)'],
    [-128, 'UNSPECIFIED (-128)'],
    [1, 'WARNING_RDT_INIT_FAILURE (1)'],
    [77, 'an unknown error (77)'],
  ])('NA-3: return code %i is refused by its name, wherever it comes', async (code, found) => {
    const refusal = { refusal: { code: 'nscq-call-failed', found } };
    for (const name of ['nscq_session_create', 'nscq_uuid_to_label', 'nscq_session_path_observe']) {
      nscq.reset([plainSwitch(0)]);
      nscq.fail(name, code);
      await expect(opened(nothing)).rejects.toMatchObject(refusal);
      expect(nscq.sessions()).toBe(0);
    }
    nscq.reset([plainSwitch(0)]);
    await opened(async ({ switches: [only] }) => {
      nscq.fail('nscq_session_set_input', code);
      await expect(only!.attestationReport(NONCE)).rejects.toMatchObject(refusal);
      nscq.answer({ returned: code });
      await expect(only!.certificateChain()).rejects.toMatchObject(refusal);
    });
  });

  it('NA-2: a library that is missing, and one that lacks a function', async () => {
    const absent = join(folder, 'absent.so');
    expect(await refusalCodeAsync(() => NscqSystem.open({ library: absent }))).toBe('nscq-library-missing');
    expect(await refusalCodeAsync(() => NscqSystem.open({ library: 'libc.so.6' }))).toBe('nscq-library-old');
  });

  it('is asked nothing after it is closed', async () => {
    nscq.reset([plainSwitch(0)]);
    const { switches } = await opened((system) => Promise.resolve(system));
    expect(await refusalCodeAsync(() => switches[0]!.attestationReport(NONCE))).toBe('nscq-closed');
  });

  it('NA-6: a question that hangs is refused in time, and nothing is asked after it', async () => {
    nscq.reset([plainSwitch(0)]);
    const system = await NscqSystem.open({ library: nscq.library, callSeconds: 0.2 });
    const [only] = system.switches;
    nscq.hang(1);
    expect(await refusalCodeAsync(() => only!.attestationReport(NONCE))).toBe('nscq-timeout');
    nscq.hang(0);
    expect(await refusalCodeAsync(() => only!.certificateChain())).toBe('nscq-timeout');
    await system.close();
    // The library may still be in the session, so it is left as it is.
    expect(nscq.sessions()).toBe(1);
    nscq.reset();
  });
});
