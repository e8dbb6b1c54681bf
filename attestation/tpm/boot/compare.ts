/**
 * A boot against the reference values of one good state (docs/spec/tpm-boot.md, section 5). What is compared are digests that the
 * replay proves, and texts that a digest covers; nothing else of a record.
 */

import { excerpt, toHex } from '../../core/bytes.ts';
import { defineChecks } from '../../core/verdict.ts';
import type { RefusalFacts } from '../../core/refusal.ts';
import type { TpmHash } from '../hash.ts';
import { isAllowedText, measuredForms } from './command-line.ts';
import type { BootFacts } from './facts.ts';
import type { LoaderRecord } from './loader.ts';
import type { BootPolicy } from './policy.ts';
import type { BootReference } from './reference.ts';

export const bootReferenceChecks = defineChecks('unacceptable', {
  'tpm-boot-image': {
    means: 'The firmware or a boot loader started an image that is not among the reference values.',
    hint: 'Boot what is approved, or have the new image approved and recorded.',
    protects: 'Another boot loader or kernel could be started.',
  },
  'tpm-boot-loader': {
    means:
      'A boot loader measured a file, a command or a command line that is not among the reference values.',
    hint: 'Boot with the approved command line and initrd, or have the new ones approved and recorded.',
    protects:
      'A kernel could be started with other parameters or another initrd, such as one that opens a shell.',
  },
  'tpm-boot-uki': {
    means: 'The sections of the unified kernel image are not those of the reference values.',
    hint: 'Boot the approved image, or have the new one approved and recorded.',
    protects: 'Another kernel, initrd or command line could be started.',
  },
  'tpm-boot-mok': {
    means: 'Keys or switches of shim are not those of the reference values.',
    hint: 'Remove the key with mokutil, or turn shim’s validation on again (mokutil --enable-validation).',
    protects: 'Whoever sits at the machine could enrol a key of his own, or turn the checks of shim off.',
  },
  'tpm-boot-agent': {
    means: 'The agent that measured itself is not among the reference values.',
    hint: 'Install the approved agent and start the machine again, or have the new one approved and recorded.',
    protects: 'A changed agent could hand the weights out.',
  },
});

export interface ReferenceCheck {
  readonly code: keyof typeof bootReferenceChecks.codes;
  readonly holds: boolean;
  readonly facts: RefusalFacts;
}

/** What is shown of a list that may be long. */
const MAX_SHOWN = 4;

/** One check for each rule by reference; `files` have a list of their own (BC-20). */
export function compareBoot(
  facts: BootFacts,
  policy: BootPolicy,
  reference: BootReference,
  bank: TpmHash,
): readonly ReferenceCheck[] {
  const made: ReferenceCheck[] = [];
  if (policy.images === 'reference') made.push(compareImages(facts.images ?? [], reference));
  if (policy.loader === 'reference') made.push(compareLoader(facts.loader ?? [], reference, bank));
  if (policy.uki === 'reference') made.push(compareUki(facts.uki?.sections ?? [], reference));
  if (policy.mok === 'reference') {
    const strange = (facts.mok ?? []).filter((digest) => !reference.mok.has(digest));
    made.push(check('tpm-boot-mok', 'eventLog PCR 14', `${reference.mok.size} digests`, strange));
  }
  if (policy.agent !== 'any') made.push(compareAgent(facts, reference));
  return made;
}

function check(
  code: ReferenceCheck['code'],
  field: string,
  expected: string,
  strange: readonly string[],
): ReferenceCheck {
  const more = strange.length > MAX_SHOWN ? [`and ${strange.length - MAX_SHOWN} more`] : [];
  const found = [...strange.slice(0, MAX_SHOWN), ...more].join('; ') || 'no others';
  return { code, holds: strange.length === 0, facts: { field, expected, found } };
}

function compareImages(images: readonly string[], reference: BootReference): ReferenceCheck {
  const strange =
    images.length === 0 ? ['no image'] : images.filter((digest) => !reference.images.has(digest));
  return check('tpm-boot-image', 'eventLog PCR 4', `${reference.images.size} images`, strange);
}

/** How a record of a loader is known: by a digest, by a text, or not at all. */
export type KnownRecord =
  { readonly by: 'digest' } | { readonly by: 'text'; readonly text: string } | { readonly by: 'nothing' };

/**
 * What the reference values know of each record, in order. A text is told only where they allow it as a text: one whose record was
 * altered so that it does not show it is known by its digest all the same, in whichever form it was measured.
 */
export function knownRecords(
  records: readonly LoaderRecord[],
  { loader }: BootReference,
  bank: TpmHash,
): readonly KnownRecord[] {
  const { digests, texts } = loader;
  const exact = texts.flatMap((text) => ('exact' in text ? [text.exact] : []));
  const byDigest = new Map(
    exact.flatMap((text) => measuredForms(text).map((form) => [toHex(bank.digest(form)), text] as const)),
  );
  return records.map(({ digest, text }) => {
    if (digests.has(digest)) return { by: 'digest' };
    const known =
      byDigest.get(digest) ?? (text !== undefined && isAllowedText(text, texts) ? text : undefined);
    return known === undefined ? { by: 'nothing' } : { by: 'text', text: known };
  });
}

function compareLoader(
  records: readonly LoaderRecord[],
  reference: BootReference,
  bank: TpmHash,
): ReferenceCheck {
  const known = knownRecords(records, reference, bank);
  const strange = records.filter((_, i) => known[i]?.by === 'nothing');
  const { digests, texts } = reference.loader;
  return check(
    'tpm-boot-loader',
    'eventLog PCR 8, 9, 12',
    `${digests.size} digests and ${texts.length} texts`,
    strange.map(
      ({ index, pcr, digest, text }) => `record ${index} in PCR ${pcr}: ${excerpt(text ?? digest)}`,
    ),
  );
}

/** All sections in their order: leaving one out would let something else stand in for it. */
function compareUki(
  sections: readonly { readonly section: string; readonly digest: string }[],
  { uki }: BootReference,
): ReferenceCheck {
  const different = uki.length === 0 ? ['no sections in the reference values'] : [];
  for (let i = 0; i < Math.max(sections.length, uki.length); i += 1) {
    const [measured, wanted] = [sections[i], uki[i]];
    const isSame = measured?.section === wanted?.section && measured?.digest === wanted?.digest;
    if (!isSame)
      different.push(measured === undefined ? 'nothing more' : `${measured.section} ${measured.digest}`);
  }
  const expected = uki.map(({ section }) => section).join(', ');
  return check('tpm-boot-uki', 'eventLog PCR 11', expected, different);
}

function compareAgent({ agent }: BootFacts, { agentPrograms }: BootReference): ReferenceCheck {
  const programs = (agent ?? [])
    .filter(({ kind }) => kind === 'agent-program')
    .map(({ digest }) => toHex(digest));
  const strange =
    programs.length === 0 ? ['no program'] : programs.filter((digest) => !agentPrograms.has(digest));
  return check('tpm-boot-agent', 'agentLog', `${agentPrograms.size} programs`, strange);
}
