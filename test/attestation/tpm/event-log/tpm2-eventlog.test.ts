/**
 * Replay against tpm2_eventlog of tpm2-tools 5.4 (docs/spec/tpm-event-log.md, section 5): the same registers, but for the
 * two mistakes of that tool, which are made here on purpose to show that nothing else is different. Driven by the logs in
 * the folder of vectors and by what they contain.
 */

import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { toHex } from '../../../../attestation/core/bytes.ts';
import { RefusalError } from '../../../../attestation/core/refusal.ts';
import { EventType } from '../../../../attestation/tpm/event-log/event-types.ts';
import { readEventLog } from '../../../../attestation/tpm/event-log/read.ts';
import type { EventLog } from '../../../../attestation/tpm/event-log/read.ts';
import { replayEventLog, startupLocality } from '../../../../attestation/tpm/event-log/replay.ts';
import { Algorithm } from '../../../../attestation/tpm/layout.ts';
import { temporaryFolder } from '../../../support/temporary-folder.ts';
import { tpm2ToolsMissing } from '../../../support/tpm2-tools.ts';
import { vectorEntries, vectorFile, vectorsMissing } from '../../../support/vectors.ts';

const ALGORITHMS: ReadonlyMap<string, number> = new Map([
  ['sha1', Algorithm.sha1],
  ['sha256', Algorithm.sha256],
  ['sha384', Algorithm.sha384],
  ['sha512', Algorithm.sha512],
]);

type Registers = Readonly<Record<string, string>>;
/** Values by bank; undefined where the tool ended otherwise than with success. */
type ToolAnswer = ReadonlyMap<string, Registers> | undefined;

async function runTool(bytes: Uint8Array): Promise<ToolAnswer> {
  const file = join(await temporaryFolder(), 'log');
  await writeFile(file, bytes);
  return await new Promise((done) => {
    execFile('tpm2_eventlog', [file], { maxBuffer: 64 * 1024 * 1024 }, (error, output) => {
      done(error === null ? readRegisters(output) : undefined);
    });
  });
}

/** The part of its YAML behind `pcrs:`; what stands before comes from the log. */
function readRegisters(output: string): ReadonlyMap<string, Registers> {
  const banks = new Map<string, Record<string, string>>();
  const at = output.lastIndexOf('\npcrs:\n');
  for (const line of at < 0 ? [] : output.slice(at + 7).split('\n')) {
    const [, bank] = /^ {2}([a-z0-9_]+):$/.exec(line) ?? [];
    const [, pcr, value] = /^ {4}([0-9]+) *: 0x([0-9a-f]+)$/.exec(line) ?? [];
    if (bank !== undefined) banks.set(bank, {});
    const registers = [...banks.values()].at(-1);
    if (registers !== undefined && pcr !== undefined && value !== undefined) registers[pcr] = value;
  }
  return banks;
}

function ours(log: EventLog, algorithm: number): Registers {
  const values = [...replayEventLog(log, algorithm)];
  return Object.fromEntries(values.map(([pcr, value]) => [String(pcr), toHex(value)]));
}

/** The log as the tool takes it: records that extend nothing do, and nothing tells of a locality. */
function asToolReads(log: EventLog): EventLog {
  const isHeader = (index: number): boolean => log.format === 'crypto-agile' && index === 0;
  const events = log.events.map((event, index) => {
    const isMistaken = event.type === EventType.noAction || event.type === EventType.efiHcrtmEvent;
    return isMistaken && !isHeader(index) ? { ...event, type: EventType.action } : event;
  });
  return { ...log, events };
}

/** Registers of which the tool says something else, for a reason that the log shows. */
function mistakenRegisters(log: EventLog): ReadonlySet<string> {
  const first = log.format === 'crypto-agile' ? 1 : 0;
  const extendingNothing = log.events.slice(first).filter(({ type }) => type === EventType.noAction);
  const moved = startupLocality(log) === 0 ? [] : ['0'];
  return new Set([...extendingNothing.map(({ pcr }) => String(pcr)), ...moved]);
}

function tryRead(bytes: Uint8Array): EventLog | undefined {
  try {
    return readEventLog(bytes);
  } catch (error) {
    if (error instanceof RefusalError) return undefined;
    throw error;
  }
}

interface ExpectedLog {
  readonly replayPcrs?: Readonly<Record<string, Registers>>;
}

const reason = vectorsMissing('tpm') ?? tpm2ToolsMissing;
const entries =
  reason === undefined
    ? ['eventlog', 'quote']
        .flatMap((kind) => vectorEntries<ExpectedLog>('tpm', kind))
        .filter(({ files }) => 'eventlog' in files)
    : [];

describe.skipIf(reason !== undefined)(
  `replay and tpm2_eventlog${reason === undefined ? '' : ` (${reason})`}`,
  () => {
    const counted = { same: 0, mistaken: 0, toolFailed: 0, refused: 0 };

    it.each(entries)('EL-22: say the same of $id, or differ by a known mistake', async (entry) => {
      const bytes = vectorFile('tpm', entry, 'eventlog');
      const log = tryRead(bytes);
      const answer = await runTool(bytes);
      if (answer === undefined) {
        counted.toolFailed += 1;
        return;
      }
      if (log === undefined) {
        counted.refused += 1;
        expect([...answer.values()].flatMap((registers) => Object.keys(registers))).toEqual([]);
        return;
      }
      const mistaken = mistakenRegisters(log);
      for (const [bank, found] of answer) {
        const algorithm = ALGORITHMS.get(bank);
        if (algorithm === undefined) continue;
        const [right, asTool] = [ours(log, algorithm), ours(asToolReads(log), algorithm)];
        expect(asTool).toEqual(found);
        for (const [pcr, value] of Object.entries(found)) {
          const isSame = right[pcr] === value;
          expect([bank, pcr, isSame]).toEqual([bank, pcr, !mistaken.has(pcr)]);
          counted[isSame ? 'same' : 'mistaken'] += 1;
        }
      }
    });

    it('EL-22: was compared on many registers, mistaken ones among them', () => {
      expect(counted.same).toBeGreaterThan(100);
      expect(counted.mistaken).toBeGreaterThan(0);
      expect(counted.toolFailed).toBeGreaterThan(0);
      expect(counted.refused).toBeGreaterThan(0);
    });
  },
);
