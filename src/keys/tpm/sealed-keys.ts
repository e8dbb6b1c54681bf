/** Wrapping keys as a TPM seals and opens them (docs/spec/key-custody.md KC-40, KC-46). */

import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';

import {
  concatBytes,
  equalBytes,
  fromBase64,
  fromHex,
  toBase64,
  toHex,
  toUtf8,
} from '../../../attestation/core/bytes.ts';
import { encodeCanonicalJson } from '../../../attestation/core/canonical-json.ts';
import { bigEndian, decode, encode, fixedBytes, structure } from '../../../attestation/core/layout.ts';
import { publicArea, type PublicArea } from '../../../attestation/tpm/layout.ts';
import { Comparison } from '../../../attestation/tpm/policy-digest.ts';
import { selectPcrs } from '../../../attestation/tpm/pcr-selection.ts';
import { sealedDataTemplate } from '../../../attestation/tpm/sealing-templates.ts';
import { KeyMemory } from '../../../native/memory/key-memory.ts';
import { offHeapBytes } from '../../../native/memory/mapping.ts';
import {
  type PolicySession,
  type SealedData,
  type SealedStorage,
  withSealedStorage,
} from '../../../native/tpm-commands/sealing.ts';
import type { Tpm } from '../../../native/tpm-commands/tpm.ts';
import { sodium } from '../sodium.ts';
import type { Approval } from './approval.ts';
import { chooseApproval, type MachineState } from './approval-choice.ts';
import {
  identityOf,
  sealedDataOf,
  sealedDocument,
  type SealedKeyEntry,
  type SealedRoot,
  signerOf,
  storageKeyNameOf,
  type TpmCustodyDocument,
} from './document.ts';
import {
  type CustodyIdentity,
  POLICY_HASH,
  sealingPolicy,
  versionOperand,
  writtenCounterArea,
} from './policy.ts';
import { tpmCustodyIntegrityRefusals } from './refusals.ts';

const IDENTIFIER_BYTES = 16;
const SECRET_BYTES = 32;

/** What is sealed: a secret with its identifier, so that no file can give it another one. */
const sealedPayload = structure({
  version: bigEndian.u8({ oneOf: [1] }),
  id: fixedBytes(IDENTIFIER_BYTES),
  secret: fixedBytes(SECRET_BYTES),
});

/** The identifier of the root secret. Those of wrapping keys are random. */
const ROOT_ID = '00'.repeat(IDENTIFIER_BYTES);

/** A new root secret, and the name of the custody that follows from it. Whoever calls zeroes the secret. */
export function newRootSecret(): { readonly root: Uint8Array; readonly custody: string } {
  const root = sodium.randombytes_buf(SECRET_BYTES);
  return { root, custody: custodyOf(root) };
}

/** Approvals name this digest, so that they are good for no custody of another root secret. */
function custodyOf(root: Uint8Array): string {
  return toHex(sha256(concatBytes(toUtf8('weightgate/custody-root/v1'), root)));
}

/** Only who has opened the root secret can add a key to the file: sealing alone needs no approval. */
function entryMac(root: Uint8Array, { id, publicArea: area }: Omit<SealedKeyEntry, 'mac'>): Uint8Array {
  const covered = { purpose: 'weightgate/custody-key/v1', id, publicArea: area };
  return hmac(sha256, root, encodeCanonicalJson(covered));
}

async function sealSecret(
  storage: SealedStorage,
  owner: SealingOwner,
  id: string,
  secret: Uint8Array,
): Promise<SealedData> {
  const payload = encode(sealedPayload, { version: 1, id: fromHex(id, 'id'), secret }, 'payload');
  try {
    return await storage.seal(sealingPolicy(owner.identity, owner.signer), payload);
  } finally {
    payload.fill(0);
  }
}

/** For whom something is sealed. */
export interface SealingOwner {
  readonly identity: CustodyIdentity;
  readonly signer: PublicArea;
}

export async function sealRootSecret(
  storage: SealedStorage,
  owner: SealingOwner,
  root: Uint8Array,
): Promise<SealedRoot> {
  return sealedDocument(await sealSecret(storage, owner, ROOT_ID, root));
}

/** Seals a new random wrapping key. Nothing of it stays in this process. */
export async function sealNewKey(
  storage: SealedStorage,
  owner: SealingOwner,
  root: Uint8Array,
): Promise<SealedKeyEntry> {
  const id = toHex(sodium.randombytes_buf(IDENTIFIER_BYTES));
  const wrappingKey = sodium.randombytes_buf(SECRET_BYTES);
  try {
    const entry = { id, ...sealedDocument(await sealSecret(storage, owner, id, wrappingKey)) };
    return { ...entry, mac: toBase64(entryMac(root, entry)) };
  } finally {
    wrappingKey.fill(0);
  }
}

/** Work on the storage of the TPM that made the custody. @throws RefusalError `custody-tpm-other`, `tpm-*` */
export async function withStorageOf<T>(
  tpm: Tpm,
  document: TpmCustodyDocument,
  work: (storage: SealedStorage) => Promise<T>,
): Promise<T> {
  const expected = storageKeyNameOf(document);
  return await withSealedStorage(
    tpm,
    ({ name }) => {
      if (equalBytes(name, expected)) return;
      throw tpmCustodyIntegrityRefusals.error('custody-tpm-other', {
        field: 'storageKey',
        expected: toHex(expected),
        found: toHex(name),
      });
    },
    work,
  );
}

/** What a custody opens with: the approvals that were verified, and where they are, for refusals. */
export interface OpeningApprovals {
  readonly approvals: readonly Approval[];
  readonly field: string;
}

/**
 * Opens wrapping keys under the approval that fits the state of the machine.
 *
 * @returns the keys by identifier, in memory that is not swapped; the caller closes them
 * @throws RefusalError `custody-tpm-*`, `custody-approval-withdrawn`, `tpm-*`, `memory-*`
 */
export async function openKeys(
  tpm: Tpm,
  document: TpmCustodyDocument,
  entries: readonly SealedKeyEntry[],
  opening: OpeningApprovals,
): Promise<Map<string, KeyMemory>> {
  const opened = new Map<string, KeyMemory>();
  try {
    await withRoot(tpm, document, opening, async (root, storage, approval) => {
      for (const entry of entries) {
        requireMac(root, entry);
        opened.set(entry.id, await openKey(storage, document, entry, approval));
      }
    });
    return opened;
  } catch (error) {
    for (const key of opened.values()) key.close();
    throw error;
  }
}

/**
 * Seals a further wrapping key and opens it: one that this machine cannot open must never become current (KC-47).
 *
 * @returns the key too, which the caller closes
 * @throws RefusalError as `openKeys`
 */
export async function sealFurtherKey(
  tpm: Tpm,
  document: TpmCustodyDocument,
  opening: OpeningApprovals,
): Promise<{ readonly entry: SealedKeyEntry; readonly key: KeyMemory }> {
  return await withRoot(tpm, document, opening, async (root, storage, approval) => {
    const owner = { identity: identityOf(document), signer: signerOf(document) };
    const entry = await sealNewKey(storage, owner, root);
    return { entry, key: await openKey(storage, document, entry, approval) };
  });
}

async function withRoot<T>(
  tpm: Tpm,
  document: TpmCustodyDocument,
  { approvals, field }: OpeningApprovals,
  work: (root: Uint8Array, storage: SealedStorage, approval: Approval) => Promise<T>,
): Promise<T> {
  const approval = chooseApproval(approvals, await readState(tpm, document, approvals), field);
  return await withStorageOf(tpm, document, async (storage) => {
    const sealed = sealedDataOf(document.root, 'root');
    const root = await openSecret(storage, document, { id: ROOT_ID, sealed }, approval);
    try {
      if (custodyOf(root) === document.custody) return await work(root, storage, approval);
      throw damaged('root', 'the secret that the custody is named after (KC-40)', 'another');
    } finally {
      root.fill(0);
    }
  });
}

function requireMac(root: Uint8Array, entry: SealedKeyEntry): void {
  if (equalBytes(fromBase64(entry.mac, `keys.${entry.id}.mac`), entryMac(root, entry))) return;
  throw damaged(`keys.${entry.id}`, 'a key that this custody added (KC-40)', 'another');
}

async function readState(
  tpm: Tpm,
  { counterIndex }: TpmCustodyDocument,
  approvals: readonly Approval[],
): Promise<MachineState> {
  const pcrs = [...new Set(approvals.flatMap((approval) => approval.pcrs.map(({ pcr }) => pcr)))];
  const counter = await readCounter(tpm, counterIndex);
  if (pcrs.length === 0) return { pcrs: new Map(), counter };
  const values = await tpm.readPcrs(selectPcrs({ bank: POLICY_HASH, pcrs }));
  return { pcrs: new Map(values.map(({ pcr, value }) => [pcr, value])), counter };
}

/** @throws RefusalError `tpm-*`, `layout-*` */
export async function readCounter(tpm: Tpm, index: number): Promise<bigint> {
  return decode(bigEndian.u64(), await tpm.readNv(index), 'counter');
}

async function openKey(
  storage: SealedStorage,
  document: TpmCustodyDocument,
  entry: SealedKeyEntry,
  approval: Approval,
): Promise<KeyMemory> {
  const sealed = sealedDataOf(entry, `keys.${entry.id}`);
  return KeyMemory.take(await openSecret(storage, document, { id: entry.id, sealed }, approval));
}

/** @returns the secret in a buffer of its own; the caller zeroes it */
async function openSecret(
  storage: SealedStorage,
  document: TpmCustodyDocument,
  { id, sealed }: { readonly id: string; readonly sealed: SealedData },
  approval: Approval,
): Promise<Uint8Array> {
  requireOwnPolicy(sealed, document, id);
  const payload = await storage.unseal(sealed, (session) => assertApproved(session, document, approval));
  try {
    return readSecret(payload, id);
  } finally {
    payload.fill(0);
  }
}

async function assertApproved(
  session: PolicySession,
  document: TpmCustodyDocument,
  approval: Approval,
): Promise<void> {
  const { counterIndex } = document;
  const pcrs = approval.pcrs.map(({ pcr }) => pcr);
  await session.assertPcrs(selectPcrs({ bank: POLICY_HASH, pcrs }));
  const operand = versionOperand(approval.approvalVersion);
  await session.assertNv(writtenCounterArea(counterIndex), Comparison.unsignedAtMost, operand);
  await session.authorize({ ...approval, signer: signerOf(document) });
}

/** Somebody who writes the file could put an object of another policy into it, sealed by himself. */
function requireOwnPolicy({ publicArea: area }: SealedData, document: TpmCustodyDocument, id: string): void {
  const policy = sealingPolicy(identityOf(document), signerOf(document));
  const { unique } = area;
  if (unique instanceof Uint8Array) {
    const expected = encode(publicArea, { ...sealedDataTemplate(policy), unique } as PublicArea, id);
    if (equalBytes(encode(publicArea, area, id), expected)) return;
  }
  throw damaged(id, 'sealed data under the policy of this custody (KC-40)', 'another object');
}

function readSecret(payload: Uint8Array, id: string): Uint8Array {
  const read = decode(sealedPayload, payload, id);
  if (!equalBytes(read.id, fromHex(id, 'id'))) throw damaged(id, 'the secret of this name', 'another');
  const secret = offHeapBytes(SECRET_BYTES);
  secret.set(read.secret);
  return secret;
}

function damaged(field: string, expected: string, found: string): Error {
  return tpmCustodyIntegrityRefusals.error('custody-tpm-damaged', { field, expected, found });
}
