/** How the signer makes an approval, away from the machine: with a key in a file, or with a signature from elsewhere. */

import { createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto';

import { equalBytes } from '../../../attestation/core/bytes.ts';
import { readSubjectPublicKeyInfo } from '../../../attestation/core/public-key.ts';
import { readEcdsaSignature } from '../../../attestation/core/signature.ts';
import { computeName } from '../../../attestation/tpm/name.ts';
import { externalSignerArea } from '../../../attestation/tpm/sealing-templates.ts';
import { type ApprovalTerms, approvalToSign, encodeApproval, readApproval, signerKey } from './approval.ts';
import { identityOf, signerOf, type TpmCustodyDocument } from './document.ts';
import { tpmCustodyUsageRefusals } from './refusals.ts';
import { approvalRules } from './tpm-custody.ts';

/** A private key as people keep it: PEM, under a passphrase or not. */
export interface SignerKeyFile {
  /** For refusals. */
  readonly path: string;
  readonly pem: Uint8Array;
  readonly passphrase: string | undefined;
}

/**
 * @returns the approval, ready to be installed
 * @throws RefusalError `custody-approval-*`, `public-key-*`
 */
export async function signApproval(
  document: TpmCustodyDocument,
  terms: ApprovalTerms,
  key: SignerKeyFile,
): Promise<Uint8Array> {
  const privateKey = readPrivateKey(key);
  requireSigner(document, privateKey, key.path);
  const message = approvalToSign(identityOf(document), terms);
  const signature = sign('sha256', message, { key: privateKey, dsaEncoding: 'ieee-p1363' });
  return await checked(document, terms, signature);
}

/**
 * The same with a signature that another program made over {@link approvalToSign}.
 *
 * @param signature ECDSA in DER (RFC 3279), or RSASSA-PKCS1-v1_5; with SHA-256
 * @throws RefusalError `custody-approval-*`, `der-*`, `signature-*`
 */
export async function approvalWithSignature(
  document: TpmCustodyDocument,
  terms: ApprovalTerms,
  signature: Uint8Array,
): Promise<Uint8Array> {
  const key = signerKey(signerOf(document));
  const raw = key.type === 'ec' ? readEcdsaSignature(signature, key.curve, 'signature') : signature;
  return await checked(document, terms, raw);
}

/** Nothing is handed out that the server would refuse. */
async function checked(
  document: TpmCustodyDocument,
  terms: ApprovalTerms,
  signature: Uint8Array,
): Promise<Uint8Array> {
  const approval = encodeApproval(identityOf(document), terms, signature);
  await readApproval(approval, approvalRules(document), 'approval');
  return approval;
}

function readPrivateKey({ path, pem, passphrase }: SignerKeyFile): KeyObject {
  try {
    return createPrivateKey({ key: Buffer.from(pem), ...(passphrase === undefined ? {} : { passphrase }) });
  } catch (cause) {
    const facts = { field: path, expected: 'a private key in PEM, and its passphrase', found: 'neither' };
    throw tpmCustodyUsageRefusals.error('custody-approval-key', facts, { cause });
  }
}

function requireSigner(document: TpmCustodyDocument, privateKey: KeyObject, path: string): void {
  const spki = createPublicKey(privateKey).export({ type: 'spki', format: 'der' });
  const name = computeName(externalSignerArea(readSubjectPublicKeyInfo(spki, path)));
  if (equalBytes(name, computeName(signerOf(document)))) return;
  throw tpmCustodyUsageRefusals.error('custody-approval-key', {
    field: path,
    expected: 'the key that approves for this custody (KC-44)',
    found: 'another key',
  });
}
