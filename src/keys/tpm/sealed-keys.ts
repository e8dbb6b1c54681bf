/** Wrapping keys as a TPM seals and opens them (docs/spec/key-custody.md KC-40, KC-46). */

import { equalBytes, fromHex, toHex } from '../../../attestation/core/bytes.ts';
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
  sealedKeyEntry,
  type SealedKeyEntry,
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
const WRAPPING_KEY_BYTES = 32;

/** What is sealed: the key with its identifier, so that no file can give it another one. */
const sealedPayload = structure({
  version: bigEndian.u8({ oneOf: [1] }),
  id: fixedBytes(IDENTIFIER_BYTES),
  wrappingKey: fixedBytes(WRAPPING_KEY_BYTES),
});

/** Seals a new random wrapping key. Nothing of it stays in this process. */
export async function sealNewKey(
  storage: SealedStorage,
  identity: CustodyIdentity,
  signer: PublicArea,
): Promise<SealedKeyEntry> {
  const id = sodium.randombytes_buf(IDENTIFIER_BYTES);
  const wrappingKey = sodium.randombytes_buf(WRAPPING_KEY_BYTES);
  const payload = encode(sealedPayload, { version: 1, id, wrappingKey }, 'payload');
  try {
    const sealed = await storage.seal(sealingPolicy(identity, signer), payload);
    return sealedKeyEntry(toHex(id), sealed);
  } finally {
    wrappingKey.fill(0);
    payload.fill(0);
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

/**
 * Opens wrapping keys, each under the approval that fits the state of the machine.
 *
 * @param field where the approvals are, for refusals
 * @returns the keys by identifier, in memory that is not swapped; the caller closes them
 * @throws RefusalError `custody-tpm-*`, `custody-approval-withdrawn`, `tpm-*`, `memory-*`
 */
export async function openKeys(
  tpm: Tpm,
  document: TpmCustodyDocument,
  entries: readonly SealedKeyEntry[],
  approvals: readonly Approval[],
  field: string,
): Promise<Map<string, KeyMemory>> {
  const approval = chooseApproval(approvals, await readState(tpm, document, approvals), field);
  const opened = new Map<string, KeyMemory>();
  try {
    await withStorageOf(tpm, document, async (storage) => {
      for (const entry of entries) opened.set(entry.id, await openKey(storage, document, entry, approval));
    });
    return opened;
  } catch (error) {
    for (const key of opened.values()) key.close();
    throw error;
  }
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
  const sealed = sealedDataOf(entry);
  requireOwnPolicy(sealed, document, entry.id);
  const payload = await storage.unseal(sealed, (session) => assertApproved(session, document, approval));
  try {
    return takeKey(payload, entry.id);
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

function takeKey(payload: Uint8Array, id: string): KeyMemory {
  const read = decode(sealedPayload, payload, `keys.${id}`);
  if (!equalBytes(read.id, fromHex(id, 'id'))) throw damaged(id, 'the key of this name', 'another');
  const key = offHeapBytes(WRAPPING_KEY_BYTES);
  key.set(read.wrappingKey);
  return KeyMemory.take(key);
}

function damaged(id: string, expected: string, found: string): Error {
  return tpmCustodyIntegrityRefusals.error('custody-tpm-damaged', { field: `keys.${id}`, expected, found });
}
