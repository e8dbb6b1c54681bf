/** Quotes of entries with what a verifier has to know about them from elsewhere, and what comes of verifying them. */

import { z } from 'zod';

import { decode, encode } from '../../attestation/core/layout.ts';
import { judge } from '../../attestation/core/verdict.ts';
import type { SigningKey } from '../../attestation/tpm/attestation-key.ts';
import { tpmHash } from '../../attestation/tpm/hash.ts';
import { Algorithm, signature } from '../../attestation/tpm/layout.ts';
import { authenticateStatement, demandBinding, demandPcrs } from '../../attestation/tpm/quote.ts';
import type { PresentedQuote } from '../../attestation/tpm/quote.ts';
import { isOfScheme, statementSignatureHolds } from '../../attestation/tpm/statement.ts';
import { hashAlgorithm } from './vector-tpm-attest.ts';
import {
  expectedOf,
  fileOf,
  hasFile,
  hexBytes,
  hexShape,
  jsonOf,
  refusalsOf,
  Unjudged,
} from './vector-tpm-case.ts';
import type { TpmCase } from './vector-tpm-case.ts';
import { signingKeyOf } from './vector-tpm-keys.ts';
import { SHA1_REASON } from './vector-tpm-reasons.ts';

const attestShape = z.looseObject({
  qualifiedSigner: hexShape,
  extraData: hexShape,
  pcrSelect: z.array(z.strictObject({ alg: z.string(), pcrs: z.array(z.number()) })).length(1),
});
const partShape = z.looseObject({ attest: attestShape });
const expectedShape = z.looseObject({
  attest: attestShape.optional(),
  byBank: z.record(z.string(), partShape).optional(),
});
const pcrsShape = z.record(z.string(), z.record(z.string(), z.string()));

/** One quote with what a verifier has to know about it from elsewhere. */
export interface QuotePart {
  /** Name of the bank where an entry has several quotes, else empty. */
  readonly label: string;
  readonly attest: Uint8Array;
  /** TPMT_SIGNATURE. */
  readonly signature: Uint8Array;
  /** Undefined where its scheme cannot be expressed. */
  readonly key: SigningKey | undefined;
  readonly qualifiedSigner: Uint8Array;
  readonly nonce: Uint8Array;
  readonly bank: string;
  readonly selected: readonly number[];
  /** Undefined where the entry gives no values. */
  readonly pcrs: ReadonlyMap<number, Uint8Array> | undefined;
}

export function quotePartsOf(subject: TpmCase): readonly QuotePart[] {
  const { attest, byBank } = expectedOf(subject, expectedShape);
  const stated = Object.entries(byBank ?? {}).map(([label, part]) => ({ label, stated: part.attest }));
  if (attest !== undefined) stated.push({ label: '', stated: attest });
  const values = hasFile(subject, 'pcrs') ? jsonOf(subject, 'pcrs', pcrsShape) : undefined;
  const key = signingKeyOf(subject);
  return stated.map(({ label, stated: { qualifiedSigner, extraData, pcrSelect } }) => {
    const [{ alg: bank, pcrs: selected } = { alg: '', pcrs: [] }] = pcrSelect;
    const valueOf = (pcr: number): Uint8Array => hexBytes(values?.[bank]?.[pcr] ?? '');
    return {
      label,
      attest: fileOf(subject, label === '' ? 'attest' : `attest_${label}`),
      signature: framedSignature(subject, label === '' ? 'signature' : `signature_${label}`),
      key,
      qualifiedSigner,
      nonce: extraData,
      bank,
      selected,
      pcrs: values && new Map(selected.map((pcr) => [pcr, valueOf(pcr)])),
    };
  });
}

/** Azure and WebAuthn leave out what frames a signature in the TPM. */
export function framedSignature(subject: TpmCase, name: string): Uint8Array {
  if (hasFile(subject, name)) return fileOf(subject, name);
  const bare = fileOf(subject, 'signatureRaw');
  return encode(
    signature,
    { algorithm: Algorithm.rsassa, hash: Algorithm.sha256, signature: bare },
    'signature',
  );
}

/** The codes with which a quote is refused; none when all holds that the entry gives something to hold it against. */
export function askQuote(part: QuotePart): Promise<readonly string[]> {
  return refusalsOf(() =>
    judge(async (checks) => {
      const key = part.key ?? refuseScheme(part);
      const { attest, signature: framed, nonce, bank, selected, pcrs, qualifiedSigner } = part;
      const presented: PresentedQuote = { attest, signature: framed, bank, pcrs: pcrs ?? new Map() };
      const signer = { key, qualifiedSigners: [qualifiedSigner] };
      const statement = await authenticateStatement(presented, signer, checks);
      demandBinding(statement, nonce, checks);
      const selection = { bank: tpmHash(hashAlgorithm(bank), 'pcrs'), pcrs: selected };
      if (pcrs !== undefined) demandPcrs(statement, presented, { key, selection }, checks);
      return {};
    }),
  );
}

function refuseScheme({ signature: framed }: QuotePart): never {
  const { hash } = decode(signature, framed, 'signature');
  tpmHash(hash, 'signature.hash');
  throw new Error('a quote without a key whose hash is accepted');
}

/** SHA-1 is the one reason for which a quote that holds is not accepted. */
export function explainQuote({ key, bank }: QuotePart, codes: readonly string[]): string | undefined {
  const hasSha1 = key === undefined || bank === 'sha1';
  return hasSha1 && codes.join() === 'tpm-hash' ? SHA1_REASON : undefined;
}

/** By the key alone: who signed under which name is another fact. */
export async function signatureValid({
  key,
  signature: framed,
  attest,
}: Pick<QuotePart, 'key' | 'signature' | 'attest'>): Promise<boolean | Unjudged> {
  if (key === undefined) return new Unjudged(SHA1_REASON);
  const received = decode(signature, framed, 'signature');
  return isOfScheme(received, key) && (await statementSignatureHolds(received, key, attest));
}
