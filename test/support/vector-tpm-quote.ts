/** Vectors of the kinds `quote`, `azure-vtpm` and `quote-parse`: quotes, one for each bank that was quoted. */

import { decode } from '../../attestation/core/layout.ts';
import { signature } from '../../attestation/tpm/layout.ts';
import { attestMembers, signatureMembers } from './vector-tpm-attest.ts';
import { azureMembers } from './vector-tpm-azure.ts';
import { fileOf, hasFile, refusalsOf, Unjudged } from './vector-tpm-case.ts';
import type { KindJudge, Members, Outcome, TpmCase } from './vector-tpm-case.ts';
import { keyMembers, logMembers } from './vector-tpm-quote-facts.ts';
import { askQuote, explainQuote, quotePartsOf, signatureValid } from './vector-tpm-quote-part.ts';
import type { QuotePart } from './vector-tpm-quote-part.ts';
import { SHA1_REASON } from './vector-tpm-reasons.ts';

async function outcomes(subject: TpmCase): Promise<readonly Outcome[]> {
  const parts = quotePartsOf(subject);
  return Promise.all(
    parts.map(async (part) => {
      const codes = await askQuote(part);
      return { label: part.label, codes, explanation: explainQuote(part, codes) };
    }),
  );
}

async function members(subject: TpmCase): Promise<Members> {
  const parts = quotePartsOf(subject);
  const facts = await Promise.all(parts.map((part) => partMembers(subject, part)));
  const single = parts.findIndex(({ label }) => label === '');
  const byBank = Object.fromEntries(parts.map(({ label }, i) => [label, facts[i]]));
  return {
    ...(single < 0 ? { byBank } : facts[single]),
    ...(await keyMembers(subject, parts[0])),
    ...logMembers(subject, parts[0]),
    ...(hasFile(subject, 'hclReport') ? await azureMembers(subject) : {}),
  };
}

async function partMembers(subject: TpmCase, part: QuotePart): Promise<Members> {
  const received = decode(signature, part.signature, 'signature');
  return {
    attest: attestMembers(part.attest),
    signature: signatureMembers(received),
    signatureValid: await signatureValid(part),
    pcrDigestMatches: await digestMatches(part),
    ...(part.label !== '' && logMembers(subject, part)),
  };
}

/** Null where the entry gives no values, as the manifest writes it. */
async function digestMatches(part: QuotePart): Promise<boolean | null | Unjudged> {
  if (part.pcrs === undefined) return null;
  const codes = await askQuote(part);
  if (codes.length === 0) return true;
  if (explainQuote(part, codes) !== undefined) return new Unjudged(SHA1_REASON);
  return codes.includes('tpm-quote-digest') ? false : new Unjudged(`refused before: ${codes.join()}`);
}

export const quoteJudge: KindJudge = { outcomes, members };

/** An entry without a key or without a signature: its structures alone. */
export const quoteParseJudge: KindJudge = {
  outcomes: async (subject) => [
    { label: '', codes: await refusalsOf(() => attestMembers(fileOf(subject, 'attest'))) },
  ],
  members: (subject) => {
    const hasSignature = hasFile(subject, 'signature');
    return Promise.resolve({
      attest: attestMembers(fileOf(subject, 'attest')),
      ...(hasSignature && {
        signature: signatureMembers(decode(signature, fileOf(subject, 'signature'), 'signature')),
      }),
      signatureValid: null,
      pcrDigestMatches: new Unjudged('nothing is held against values that nobody signed'),
    });
  },
};
