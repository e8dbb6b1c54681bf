/** Custody by a software TPM for tests: made, approved for the state in which the TPM is, and ready to be opened. */

import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { type PublicKey, readSubjectPublicKeyInfo } from '../../attestation/core/public-key.ts';
import { approvalToSign, encodeApproval } from '../../src/keys/tpm/approval.ts';
import { installApproval } from '../../src/keys/tpm/approval-folder.ts';
import {
  createTpmCustody,
  DEFAULT_COUNTER_INDEX,
  readTpmCustodyStatus,
} from '../../src/keys/tpm/administration.ts';
import { identityOf, readTpmCustodyFile } from '../../src/keys/tpm/document.ts';
import { approvalRules, type TpmCustodyOptions } from '../../src/keys/tpm/tpm-custody.ts';
import type { TestTpm } from './swtpm.ts';

export const APPROVED_PCRS = [7, 11];

export interface TestTpmCustody extends TpmCustodyOptions {
  readonly signer: KeyObject;
  /** The first version that an approval may have. */
  readonly firstVersion: number;
  remove(): Promise<void>;
}

export function publicKeyOf(key: KeyObject): PublicKey {
  return readSubjectPublicKeyInfo(key.export({ type: 'spki', format: 'der' }), 'key');
}

/** A custody below the system's temporary folder, without an approval. */
export async function newTpmCustody(
  { tpm }: TestTpm,
  { closingPcr = null }: { readonly closingPcr?: number | null } = {},
): Promise<TestTpmCustody> {
  const folder = await mkdtemp(join(tmpdir(), 'weightgate-tpm-custody-'));
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const options: TpmCustodyOptions = {
    path: join(folder, 'custody.json'),
    approvals: join(folder, 'approvals'),
    tpmAddress: tpm.address,
    origin: 'example.org/evaluation',
    mode: 'evaluation',
  };
  const signer = publicKeyOf(publicKey);
  const counterIndex = DEFAULT_COUNTER_INDEX;
  const counter = await createTpmCustody({ ...options, signer, counterIndex, closingPcr });
  return {
    ...options,
    signer: privateKey,
    firstVersion: Number(counter),
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

/** A signed approval of the PCRs as they are now. */
export async function approvalOfNow(
  custody: TestTpmCustody,
  {
    version = custody.firstVersion,
    pcrs = APPROVED_PCRS,
    signer = custody.signer,
  }: { readonly version?: number; readonly pcrs?: readonly number[]; readonly signer?: KeyObject } = {},
): Promise<Uint8Array> {
  const document = await readTpmCustodyFile(custody.path, custody);
  const status = await readTpmCustodyStatus(custody, pcrs);
  const { counterIndex } = document;
  const terms = { pcrs: status.pcrs, counterIndex, approvalVersion: version };
  const message = approvalToSign(identityOf(document), terms);
  const signature = sign('sha256', message, { key: signer, dsaEncoding: 'ieee-p1363' });
  return encodeApproval(identityOf(document), terms, signature);
}

/** Approves and installs the state of now. @returns the path of the approval */
export async function approveNow(
  custody: TestTpmCustody,
  options: { readonly version?: number; readonly pcrs?: readonly number[] } = {},
): Promise<string> {
  const document = await readTpmCustodyFile(custody.path, custody);
  const approval = await approvalOfNow(custody, options);
  return await installApproval(custody.approvals, approval, approvalRules(document));
}
