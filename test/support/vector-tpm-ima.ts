/** Vectors of the kind `ima-log`: measurement lists of the Linux kernel, binary and text. */

import { sha1 } from '@noble/hashes/legacy.js';
import { z } from 'zod';

import { concatBytes, toHex } from '../../attestation/core/bytes.ts';
import { tpmHash } from '../../attestation/tpm/hash.ts';
import { readImaList, readImaText } from '../../attestation/tpm/ima/read.ts';
import type { ImaEntry } from '../../attestation/tpm/ima/read.ts';
import { provenEntries } from '../../attestation/tpm/ima/replay.ts';
import { Algorithm } from '../../attestation/tpm/layout.ts';
import { expectedOf, fileOf, refusalsOf } from './vector-tpm-case.ts';
import type { KindJudge, Members, TpmCase } from './vector-tpm-case.ts';

const statedShape = z.looseObject({
  format: z.enum(['binary runtime measurements', 'ascii ima-ng']),
  entries: z.union([z.number(), z.array(z.unknown())]),
  replay: z.looseObject({ sha256WithRehashedTemplateData: z.string().optional() }),
});

function entriesOf(subject: TpmCase): readonly ImaEntry[] {
  const isText = expectedOf(subject, statedShape).format === 'ascii ima-ng';
  return (isText ? readImaText : readImaList)(fileOf(subject, 'log'));
}

export const imaJudge: KindJudge = {
  expectation: ({ vector }) => (vector.verdict === 'edge' ? 'accepted' : undefined),
  outcomes: async (subject) => [{ label: '', codes: await refusalsOf(() => proven(subject)) }],
  members: (subject) => Promise.resolve(listMembers(subject)),
};

/** Held against the register that the manifest states; of some lists it states none under SHA-256. */
function proven(subject: TpmCase): readonly ImaEntry[] {
  const entries = entriesOf(subject);
  const bank = tpmHash(Algorithm.sha256, 'bank');
  const [{ pcr } = { pcr: 10 }] = entries;
  return provenEntries(entries, bank, pcr, replayed(entries, bank.digest, bank.bytes));
}

function listMembers(subject: TpmCase): Members {
  const entries = entriesOf(subject);
  const stated = expectedOf(subject, statedShape);
  const isText = stated.format === 'ascii ima-ng';
  const sha256 = tpmHash(Algorithm.sha256, 'bank').digest;
  const hasSha256 = stated.replay.sha256WithRehashedTemplateData !== undefined;
  return {
    format: isText ? 'ascii ima-ng' : 'binary runtime measurements',
    entries:
      typeof stated.entries === 'number'
        ? entries.length
        : entries.map((entry) => (isText ? textMembers(entry) : entryMembers(entry))),
    templateHashMismatches: entries.filter((entry) => !matches(entry)).length,
    replay: {
      sha1: toHex(replayed(entries, sha1, 20)),
      ...(hasSha256 && { sha256WithRehashedTemplateData: toHex(replayed(entries, sha256, 32)) }),
    },
    pcrIndexes: [...new Set(entries.map(({ pcr }) => pcr))],
  };
}

/** A list with an entry whose digest is not that of its fields is refused; a violation has no digest. */
function matches({ isViolation }: ImaEntry): boolean {
  return !isViolation;
}

function entryMembers(entry: ImaEntry): Members {
  const computed = toHex(sha1(entry.data));
  return {
    pcr: entry.pcr,
    template: entry.template,
    templateHashSha1: entry.isViolation ? '00'.repeat(20) : computed,
    violation: entry.isViolation,
    sha1OfTemplateData: computed,
    matches: matches(entry),
  };
}

function textMembers(entry: ImaEntry): Members {
  const computed = toHex(sha1(entry.data));
  return { templateHash: computed, sha1OfTemplateData: computed, matches: matches(entry) };
}

/** The register after the whole list, by a replay of its own. */
function replayed(
  entries: readonly ImaEntry[],
  digest: (bytes: Uint8Array) => Uint8Array,
  bytes: number,
): Uint8Array {
  let value: Uint8Array = new Uint8Array(bytes);
  for (const { isViolation, data } of entries) {
    const extension = isViolation ? new Uint8Array(bytes).fill(0xff) : digest(data);
    value = digest(concatBytes(value, extension));
  }
  return value;
}
