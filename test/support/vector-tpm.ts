/** The class of vectors `tpm`: quotes, certifications, endorsement certificates, credentials and logs of TPMs. */

import { azureReportJudge } from './vector-tpm-azure.ts';
import type { KindJudge, Outcome, TpmCase } from './vector-tpm-case.ts';
import { compareMembers } from './vector-tpm-compare.ts';
import { creationJudge } from './vector-tpm-creation.ts';
import { credentialJudge, encapsJudge, kdfaJudge, kdfeJudge } from './vector-tpm-derivations.ts';
import { endorsementJudge } from './vector-tpm-endorsement.ts';
import { eventLogJudge } from './vector-tpm-event-log.ts';
import { imaJudge } from './vector-tpm-ima.ts';
import { readTpmManifest } from './vector-tpm-manifest.ts';
import type { TpmMutation, VectorKind } from './vector-tpm-manifest.ts';
import { mutationLine } from './vector-tpm-mutations.ts';
import { certifyJudge, nameJudge } from './vector-tpm-objects.ts';
import { quoteJudge, quoteParseJudge } from './vector-tpm-quote.ts';
import { quotePartsOf } from './vector-tpm-quote-part.ts';
import type { VectorClass, VectorLine } from './vector-runner.ts';

const JUDGES: Readonly<Record<VectorKind, KindJudge>> = {
  quote: quoteJudge,
  'quote-parse': quoteParseJudge,
  'azure-vtpm': quoteJudge,
  'azure-hcl': azureReportJudge,
  certify: certifyJudge,
  creation: creationJudge,
  name: nameJudge,
  ekcert: endorsementJudge,
  credential: credentialJudge,
  encaps: encapsJudge,
  kdfa: kdfaJudge,
  kdfe: kdfeJudge,
  eventlog: eventLogJudge,
  'ima-log': imaJudge,
};

/** Of which kinds the manifest says that its mutations apply to those that are valid. */
const MUTATED: ReadonlySet<VectorKind> = new Set(['quote', 'azure-vtpm']);

export const tpmVectors: VectorClass = {
  name: 'tpm',
  async *judge(folder) {
    const { entries, mutations } = readTpmManifest(folder.manifest);
    for (const vector of entries) {
      const subject = { vector, folder };
      yield* judgeVector(subject);
      if (MUTATED.has(vector.kind) && vector.verdict === 'valid')
        yield* judgeMutations(subject, mutations.list);
    }
  },
};

async function* judgeVector(subject: TpmCase): AsyncIterable<VectorLine> {
  const judge = JUDGES[subject.vector.kind];
  for (const outcome of await judge.outcomes(subject)) yield outcomeLine(subject, judge, outcome);
  yield await membersLine(subject, judge);
}

function outcomeLine(subject: TpmCase, judge: KindJudge, outcome: Outcome): VectorLine {
  const { vector } = subject;
  const { codes, label, explanation } = outcome;
  const expected = judge.expectation?.(subject) ?? VERDICTS[vector.verdict];
  const got = codes.length === 0 ? 'accepted' : 'refused';
  const line = {
    subject: label === '' ? vector.id : `${vector.id}#${label}`,
    expected,
    got,
    code: codes.join(' ') || '-',
    agrees: expected === got || expected === 'accepted or refused',
  };
  // Only what is stricter than the manifest can be right all the same.
  return line.agrees || explanation === undefined || got === 'accepted' ? line : { ...line, explanation };
}

const VERDICTS = {
  valid: 'accepted',
  invalid: 'refused',
  edge: 'accepted or refused',
  'parse-only': 'accepted',
} as const;

/** The facts that the manifest states of an entry, beside those that are found. */
async function membersLine(subject: TpmCase, judge: KindJudge): Promise<VectorLine> {
  const { vector } = subject;
  const { differing, unjudged, compared } = compareMembers(vector.expected, await judge.members(subject));
  const line = {
    subject: `${vector.id}#members`,
    expected: `${compared} values`,
    got: differing.length === 0 ? 'all of them' : `not ${differing.join(', ')}`,
    code: '-',
    agrees: differing.length === 0 && unjudged.length === 0,
  };
  const isExplained = differing.length === 0 && unjudged.length > 0;
  return isExplained ? { ...line, explanation: unjudged.join('; ') } : line;
}

async function* judgeMutations(
  subject: TpmCase,
  mutations: readonly TpmMutation[],
): AsyncIterable<VectorLine> {
  for (const part of quotePartsOf(subject)) {
    const { id } = subject.vector;
    for (const mutation of mutations)
      yield await mutationLine(part.label === '' ? id : `${id}#${part.label}`, part, mutation);
  }
}
