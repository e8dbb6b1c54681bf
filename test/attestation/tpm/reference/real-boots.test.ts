/**
 * Boots of real machines, computed again from what their logs tell of the inputs (docs/spec/tpm-reference.md). Driven by
 * the logs in the folder of vectors and by what they contain, not by their names.
 */

import { describe, expect, it } from 'vitest';

import { concatBytes, equalBytes, toHex, toUtf8 } from '../../../../attestation/core/bytes.ts';
import { RefusalError } from '../../../../attestation/core/refusal.ts';
import { EventType } from '../../../../attestation/tpm/event-log/event-types.ts';
import { readEventLog } from '../../../../attestation/tpm/event-log/read.ts';
import type { EventLog, LoggedEvent } from '../../../../attestation/tpm/event-log/read.ts';
import { replayEventLog } from '../../../../attestation/tpm/event-log/replay.ts';
import { readUefiVariable } from '../../../../attestation/tpm/event-log/uefi-variable.ts';
import type { UefiVariable } from '../../../../attestation/tpm/event-log/uefi-variable.ts';
import { Algorithm } from '../../../../attestation/tpm/layout.ts';
import { registerValues } from '../../../../attestation/tpm/reference/events.ts';
import type { ExpectedEvent } from '../../../../attestation/tpm/reference/events.ts';
import { expectApplications, expectConfiguration } from '../../../../attestation/tpm/reference/firmware.ts';
import { expectGrubLines } from '../../../../attestation/tpm/reference/grub.ts';
import {
  expectCommandLines,
  expectKernelInputs,
} from '../../../../attestation/tpm/reference/kernel-options.ts';
import {
  GPT_HEADER_BYTES,
  partitionTableEvent,
} from '../../../../attestation/tpm/reference/partition-table.ts';
import {
  databaseAuthority,
  expectSecureBoot,
  IMAGE_SECURITY_VENDOR,
} from '../../../../attestation/tpm/reference/secure-boot.ts';
import { sha256Bank as bank } from '../../../support/event-log-writer.ts';
import { vectorEntries, vectorFile, vectorsMissing } from '../../../support/vectors.ts';

const missing = vectorsMissing('tpm');

interface Boot {
  readonly id: string;
  readonly log: EventLog;
}

/** Logs that are read and have a SHA-256 bank. */
const boots: readonly Boot[] = (
  missing === undefined ? vectorEntries<unknown>('tpm', 'eventlog') : []
).flatMap((entry) => {
  try {
    const log = readEventLog(vectorFile('tpm', entry, 'eventlog'));
    return log.algorithms.includes(Algorithm.sha256) ? [{ id: entry.id, log }] : [];
  } catch (error) {
    if (error instanceof RefusalError) return [];
    throw error;
  }
});

const ofRegister = ({ log }: Boot, pcr: number): readonly LoggedEvent[] =>
  log.events.filter((event) => event.pcr === pcr && event.type !== EventType.noAction);
const digestOf = ({ digests }: LoggedEvent): Uint8Array => digests.get(Algorithm.sha256) ?? new Uint8Array(0);
const textOf = ({ data }: LoggedEvent): string => new TextDecoder().decode(data);
const valueIn = ({ log }: Boot, pcr: number): string | undefined => {
  const value = replayEventLog(log, Algorithm.sha256).get(pcr);
  return value && toHex(value);
};
const valueOf = (events: readonly ExpectedEvent[], pcr: number): string | undefined => {
  const value = registerValues(events, bank).get(pcr);
  return value && toHex(value);
};

describe.skipIf(missing !== undefined)(
  `registers of real boots${missing === undefined ? '' : ` (${missing})`}`,
  () => {
    it('ER-14: PCR 7 follows from the variables, and from authorities where the log has them whole', () => {
      const compared = boots.flatMap((boot) => {
        const records = ofRegister(boot, 7);
        const variables = variablesOf(
          records.filter(({ type }) => type === EventType.efiVariableDriverConfig),
        );
        const authorities = variablesOf(
          records.filter(({ type }) => type === EventType.efiVariableAuthority),
        );
        const isWhole = records.length === variables.length + authorities.length + 1;
        const [secureBoot, pk, kek, db, dbx] = variables;
        if (!isWhole || dbx === undefined || !secureBoot || !pk || !kek || !db) return [];
        const given = { SecureBoot: secureBoot.data, PK: pk.data, KEK: kek.data, db: db.data, dbx: dbx.data };
        const used = authorities.map((one) =>
          one.vendor === IMAGE_SECURITY_VENDOR ? databaseAuthority(db.data, one.data.subarray(16)) : one,
        );
        expect([boot.id, valueOf(expectSecureBoot(given, used, bank), 7)]).toEqual([
          boot.id,
          valueIn(boot, 7),
        ]);
        return [used.length];
      });
      expect(compared.length).toBeGreaterThan(5);
      expect(compared.some((count) => count > 0)).toBe(true);
    });

    it('ER-12: PCR 4 without images follows from the announcement and the boundary', () => {
      const habits = { announcesBootOption: true, announcesExit: true };
      const empty = boots.filter((boot) => ofRegister(boot, 4).length === 2);
      for (const boot of empty)
        expect(valueOf(expectApplications([], habits, bank), 4)).toBe(valueIn(boot, 4));
      expect(empty.length).toBeGreaterThan(0);
    });

    it('ER-12: PCR 4 of every boot begins with the boundary and, before it, with an announcement or a driver', () => {
      const [announcement, boundary] = expectApplications(
        [],
        { announcesBootOption: true, announcesExit: true },
        bank,
      );
      let compared = 0;
      for (const boot of boots) {
        const records = ofRegister(boot, 4);
        const at = records.findIndex(({ type }) => type === EventType.separator);
        const before = records[at - 1];
        if (before?.type !== EventType.efiAction) continue;
        expect([digestOf(before), digestOf(records[at] as LoggedEvent)].map(toHex)).toEqual(
          [announcement, boundary].map((event) => toHex(event?.digest ?? new Uint8Array(0))),
        );
        compared += 1;
      }
      expect(compared).toBeGreaterThan(5);
    });

    it('ER-13: PCR 5 follows from the table on the disk, or from no disk at all', () => {
      const compared = boots.flatMap((boot) => {
        const records = ofRegister(boot, 5);
        const tables = records.filter(({ type }) => type === EventType.efiGptEvent);
        const exits = records.filter(({ type }) => type === EventType.efiAction).length;
        if (tables.length > 1 || records.length !== 1 + tables.length + exits || exits % 2 === 1) return [];
        if (records[0]?.type !== EventType.separator) return [];
        const [table] = tables;
        const measured = table === undefined ? null : partitionTableEvent(diskWith(table.data), 512);
        if (table !== undefined && measured !== null) expect(measured).toEqual(table.data);
        const habits = { announcesBootOption: true, announcesExit: exits > 0 };
        expect([boot.id, valueOf(expectConfiguration(measured, null, habits, bank), 5)]).toEqual([
          boot.id,
          valueIn(boot, 5),
        ]);
        return [tables.length];
      });
      expect(compared).toEqual(expect.arrayContaining([0, 1]));
    });

    it('ER-16: PCR 8 of GRUB follows from the lines of its log', () => {
      const compared = boots.filter((boot) => {
        const lines = ofRegister(boot, 8).map((event) => textOf(event).replace(/\0$/, ''));
        if (lines.length === 0 || !lines.every((line) => /^(?:grub|kernel)_/.test(line))) return false;
        expect([boot.id, valueOf(expectGrubLines(lines, bank), 8)]).toEqual([boot.id, valueIn(boot, 8)]);
        return true;
      });
      expect(compared.length).toBeGreaterThan(0);
    });

    it('ER-17: the options that GRUB hands to a kernel are measured as it names them in the log', () => {
      let compared = 0;
      for (const boot of boots) {
        const line = boot.log.events.map(textOf).find((text) => text.startsWith('kernel_cmdline: '));
        const options = boot.log.events.find(
          ({ type, data }) => type === EventType.eventTag && endsWith(data, 'LOADED_IMAGE::LoadOptions\0'),
        );
        if (line === undefined || options === undefined) continue;
        const text = `BOOT_IMAGE=${line.slice('kernel_cmdline: '.length, -1)}`;
        const [event] = expectKernelInputs(text, 'grub', null, bank);
        expect(toHex(event?.digest ?? new Uint8Array(0))).toBe(toHex(digestOf(options)));
        compared += 1;
      }
      expect(compared).toBeGreaterThan(0);
    });

    it('ER-18: PCR 12 follows from the command lines that came from outside', () => {
      const compared = boots.filter((boot) => {
        const records = ofRegister(boot, 12);
        if (records.length === 0) return false;
        const lines = records.map(({ data }) => new TextDecoder('utf-16le').decode(data).replace(/\0$/, ''));
        expect(valueOf(expectCommandLines(lines, bank), 12)).toBe(valueIn(boot, 12));
        return true;
      });
      expect(compared.length).toBeGreaterThan(0);
    });
  },
);

function variablesOf(events: readonly LoggedEvent[]): readonly UefiVariable[] {
  return events.flatMap(({ data, digests }) => {
    const digest = digests.get(Algorithm.sha256);
    if (digest === undefined || !equalBytes(bank.digest(data), digest)) return [];
    return [readUefiVariable(data, 'variable')];
  });
}

const endsWith = (data: Uint8Array, text: string): boolean =>
  equalBytes(data.subarray(Math.max(0, data.length - text.length)), toUtf8(text));

/** The beginning of a disk whose table has these entries, and unused ones between and behind them. */
function diskWith(event: Uint8Array): Uint8Array {
  const view = new DataView(event.buffer, event.byteOffset, event.byteLength);
  const [entryCount, entryBytes] = [view.getUint32(80, true), view.getUint32(84, true)];
  const firstBlock = Number(view.getBigUint64(72, true));
  const used = Number(view.getBigUint64(GPT_HEADER_BYTES, true));
  const disk = new Uint8Array(firstBlock * 512 + entryCount * entryBytes);
  disk.set(event.subarray(0, GPT_HEADER_BYTES), 512);
  for (let i = 0; i < used; i += 1) {
    const from = GPT_HEADER_BYTES + 8 + i * entryBytes;
    disk.set(event.subarray(from, from + entryBytes), firstBlock * 512 + 2 * i * entryBytes);
  }
  return concatBytes(disk, new Uint8Array(512));
}
