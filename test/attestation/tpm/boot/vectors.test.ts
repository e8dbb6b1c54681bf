/** Boots of real machines by rules (docs/spec/tpm-boot.md): the logs of the vectors, with registers that they lead to. */

import { describe, expect, it } from 'vitest';

import { toUtf8 } from '../../../../attestation/core/bytes.ts';
import type { JsonValue } from '../../../../attestation/core/canonical-json.ts';
import { isRefusal, RefusalError } from '../../../../attestation/core/refusal.ts';
import { Checklist, judge } from '../../../../attestation/core/verdict.ts';
import { appraiseBoot } from '../../../../attestation/tpm/boot/appraise.ts';
import { bootReferenceChecks, compareBoot } from '../../../../attestation/tpm/boot/compare.ts';
import { readBoot } from '../../../../attestation/tpm/boot/facts.ts';
import type { BootFacts } from '../../../../attestation/tpm/boot/facts.ts';
import { bootPolicyShape } from '../../../../attestation/tpm/boot/policy.ts';
import type { BootPolicy } from '../../../../attestation/tpm/boot/policy.ts';
import { recordBoot } from '../../../../attestation/tpm/boot/recording.ts';
import { bootReferenceShape } from '../../../../attestation/tpm/boot/reference.ts';
import { EventType } from '../../../../attestation/tpm/event-log/event-types.ts';
import { readEventLog } from '../../../../attestation/tpm/event-log/read.ts';
import { replayEventLog } from '../../../../attestation/tpm/event-log/replay.ts';
import { NO_LOGS } from '../../../../attestation/tpm/evidence.ts';
import { NO_RULES } from '../../../support/boot.ts';
import { sha256Bank } from '../../../support/event-log-writer.ts';
import { refusalCode } from '../../../support/refusal-code.ts';
import { vectorEntries, vectorFile, vectorsMissing } from '../../../support/vectors.ts';

interface ExpectedLog {
  readonly replayPcrs?: { readonly sha256?: Readonly<Record<string, string>> };
}

const missing = vectorsMissing('tpm');
const entries = vectorEntries<ExpectedLog>('tpm', 'eventlog');
const logOf = (id: string): Uint8Array => {
  const entry = entries.find((candidate) => candidate.id === id);
  if (entry === undefined) throw new Error(`no vector ${id}`);
  return vectorFile('tpm', entry, 'eventlog');
};

function rules(...names: readonly (keyof BootPolicy)[]): BootPolicy {
  const demanded = names.map((name) => [name, name === 'secureBoot' ? 'required' : 'reference'] as const);
  const policy = bootPolicyShape({ ...NO_RULES, ...Object.fromEntries(demanded) }, 'policy.boot');
  if (policy === 'any') throw new Error('no rules');
  return policy;
}

/** What the log says where the registers are those that it leads to; unused ones are zeros. */
function factsOf(eventLog: Uint8Array, policy: BootPolicy, replayed = eventLog): BootFacts {
  const values = replayEventLog(readEventLog(replayed), sha256Bank.algorithm);
  const pcrs = new Map(
    Array.from({ length: 16 }, (_, pcr) => [pcr, values.get(pcr) ?? new Uint8Array(32)] as const),
  );
  return readBoot({ ...NO_LOGS, eventLog }, policy, { bank: sha256Bank, pcrs }, new Checklist());
}

function codesBy(facts: BootFacts, policy: BootPolicy, reference: JsonValue): Promise<readonly string[]> {
  return judge((checks) => {
    appraiseBoot(facts, policy, checks);
    const values = bootReferenceShape(reference, 'boot');
    if (values === null) throw new Error('no reference');
    for (const { code, holds, facts: found } of compareBoot(facts, policy, values, sha256Bank)) {
      checks.note(bootReferenceChecks, code, holds, found);
    }
    return {};
  }).then((verdict) => (verdict.outcome === 'accepted' ? [] : verdict.refusals.map(({ code }) => code)));
}

describe.skipIf(missing !== undefined)('boots of real machines', () => {
  it.each<[string, readonly (keyof BootPolicy)[]]>([
    ['eventlog-ubuntu-2404-amd-sevsnp', ['secureBoot', 'images', 'loader', 'mok']],
    ['eventlog-arch-linux-workstation', ['images']],
    ['eventlog-dstack-gcp-uki', ['loader', 'uki']],
    ['eventlog-sd-boot-fedora37', ['loader']],
    ['eventlog-mok-list-trusted', ['images', 'loader', 'mok']],
  ])('BC-20: %s is accepted by what was recorded of it by %j', async (id, names) => {
    const policy = rules(...names);
    const facts = factsOf(logOf(id), policy);
    const reference = recordBoot(facts);
    const codes = await codesBy(facts, policy, reference);
    expect(codes.filter((code) => code !== 'tpm-boot-secure-boot')).toEqual([]);
  });

  it('BC-19: the states of Secure Boot are told apart', async () => {
    const policy = rules('secureBoot', 'images');
    const judged = async (id: string): Promise<readonly string[]> => {
      const facts = factsOf(logOf(id), policy);
      return await codesBy(facts, policy, recordBoot(facts));
    };
    expect(await judged('eventlog-mok-list-trusted')).toEqual([]);
    expect(await judged('eventlog-ubuntu-2404-amd-sevsnp')).toEqual(['tpm-boot-secure-boot']);
    expect(await judged('eventlog-arch-linux-workstation')).toEqual(['tpm-boot-secure-boot']);
  });

  it('BC-13: logs of SHA-1 alone are refused', () => {
    for (const id of ['eventlog-debian-10-legacy-sha1', 'eventlog-option-rom-windows']) {
      const pcrs = new Map([[4, new Uint8Array(32)]]);
      const read = (): unknown =>
        readBoot(
          { ...NO_LOGS, eventLog: logOf(id) },
          rules('images'),
          { bank: sha256Bank, pcrs },
          new Checklist(),
        );
      expect(refusalCode(read), id).toBe('event-log-bank');
    }
  });

  it.each(entries.map(({ id }) => id))('BC-14: %s gives facts or a refusal, by every rule', (id) => {
    for (const name of ['secureBoot', 'images', 'loader', 'uki', 'mok'] as const) {
      try {
        expect(factsOf(logOf(id), rules(name, 'images'))).toHaveProperty('images');
      } catch (error) {
        expect(error).toBeInstanceOf(RefusalError);
      }
    }
  });

  /** Ubuntu with shim, GRUB and a kernel; a byte of a real log is changed. */
  const id = 'eventlog-ubuntu-2404-amd-sevsnp';
  const policy = rules('secureBoot', 'images', 'loader', 'mok');

  it('BC-12: any changed digest of a register that is relied on parts log and quote', () => {
    const bytes = logOf(id);
    for (const { at, pcr } of digestsOf(bytes)) {
      if (![0, 4, 7, 8, 9, 12, 14].includes(pcr)) continue;
      const altered = bytes.slice();
      altered[at] = (altered[at] ?? 0) ^ 1;
      expect(
        refusalCode(() => factsOf(altered, policy, bytes)),
        `byte ${at}`,
      ).toBe('event-log-replay');
    }
  });

  it('BC-14, BC-20: a boot that left another digest is refused, whatever the register', async () => {
    const bytes = logOf(id);
    const reference = recordBoot(factsOf(bytes, policy));
    for (const { at, pcr } of digestsOf(bytes)) {
      if (![4, 8, 9, 14].includes(pcr)) continue;
      const other = bytes.slice();
      other[at] = (other[at] ?? 0) ^ 1;
      const codes = await outcome(other, reference);
      expect(codes.length, `byte ${at} of PCR ${pcr}`).toBeGreaterThan(0);
    }
  });

  async function outcome(bytes: Uint8Array, reference: JsonValue): Promise<readonly string[]> {
    try {
      return await codesBy(factsOf(bytes, policy), policy, reference);
    } catch (error) {
      if (isRefusal(error)) return [error.refusal.code];
      throw error;
    }
  }

  it('BC-14: names of files and images do not count', () => {
    const bytes = logOf(id);
    const relabelled = bytes.slice();
    const label = toUtf8('(hd0,gpt16)/grub/x86_64-efi/fs.lst');
    const found = indexesOf(bytes, label);
    expect(found.length).toBeGreaterThan(0);
    for (const at of found) relabelled[at + label.length - 1] = 0x58;
    const [before, after] = [bytes, relabelled].map((log) => recordBoot(factsOf(log, policy)));
    expect(after).toEqual(before);
  });
});

/** Where the SHA-256 digests of a log stand. The log is walked by its own structure, in the simplest way. */
function digestsOf(bytes: Uint8Array): readonly { readonly at: number; readonly pcr: number }[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const u32 = (at: number): number => view.getUint32(at, true);
  const found: { at: number; pcr: number }[] = [];
  const lengths = new Map([
    [0x4, 20],
    [0xb, 32],
    [0xc, 48],
  ]);
  let at = 32 + u32(28);
  while (at < bytes.length) {
    const [pcr, type, count] = [u32(at), u32(at + 4), u32(at + 8)];
    at += 12;
    for (let i = 0; i < count; i += 1) {
      const algorithm = view.getUint16(at, true);
      if (algorithm === 0xb && type !== EventType.noAction) found.push({ at: at + 2, pcr });
      at += 2 + (lengths.get(algorithm) ?? 0);
    }
    at += 4 + u32(at);
  }
  return found;
}

function indexesOf(bytes: Uint8Array, part: Uint8Array): readonly number[] {
  const text = Buffer.from(bytes);
  const found: number[] = [];
  for (let at = text.indexOf(part); at >= 0; at = text.indexOf(part, at + 1)) found.push(at);
  return found;
}
