/** What an operator does with custody by a TPM: make it, look at it, withdraw approvals (KC-40, KC-43). */

import { sha256 } from '@noble/hashes/sha2.js';

import { equalBytes, toUtf8 } from '../../../attestation/core/bytes.ts';
import type { PublicKey } from '../../../attestation/core/public-key.ts';
import { computeNvName } from '../../../attestation/tpm/nv-index.ts';
import { selectPcrs } from '../../../attestation/tpm/pcr-selection.ts';
import { externalSignerArea } from '../../../attestation/tpm/sealing-templates.ts';
import { NvIndices } from '../../../native/tpm-commands/nv.ts';
import { incrementCounter, withSealedStorage } from '../../../native/tpm-commands/sealing.ts';
import type { Tpm } from '../../../native/tpm-commands/tpm.ts';
import { writeSecretFile } from '../secret-file.ts';
import { readApprovalFolder } from './approval-folder.ts';
import { chooseApproval } from './approval-choice.ts';
import { newTpmCustodyDocument, readTpmCustodyFile } from './document.ts';
import { type ApprovedPcrs, counterArea, POLICY_HASH, writtenCounterArea } from './policy.ts';
import { tpmCustodyPolicyRefusals, tpmCustodyUsageRefusals } from './refusals.ts';
import { newRootSecret, readCounter, sealNewKey, sealRootSecret } from './sealed-keys.ts';
import { approvalRules, type TpmCustodyOptions, withCustodyTpm } from './tpm-custody.ts';

/** What the closing PCR is extended with: the same in every boot. */
const CLOSING_DIGEST = sha256(toUtf8('weightgate/custody-closed/v1'));

/** Each takes one command; a TPM wears its storage out by them. */
const MAX_WITHDRAWN_AT_ONCE = 100n;

/** In the range of the owner; any other free index of it will do. */
export const DEFAULT_COUNTER_INDEX = 0x01807767;

export interface NewTpmCustodyOptions extends TpmCustodyOptions {
  /** Whose signature approves states of this machine. Its private half stays away from it. */
  readonly signer: PublicKey;
  readonly counterIndex: number;
  /** The PCR, 8 to 15, by which the custody is closed until the next start; null where it is not to be. */
  readonly closingPcr: number | null;
}

/**
 * Makes the custody file with a first wrapping key, and the counter of versions where there is none. The TPM is met
 * for the first time: whoever stands between it and this program now would stay unnoticed.
 *
 * @returns the counter: the lowest version that an approval may have
 * @throws RefusalError `custody-approval-key`, `custody-counter-taken`, `file-exists`, `file-not-written`, `tpm-*`
 */
export async function createTpmCustody(options: NewTpmCustodyOptions): Promise<bigint> {
  const { origin, mode, counterIndex, closingPcr } = options;
  requireSigner(options.signer);
  const signer = externalSignerArea(options.signer);
  const { root, custody } = newRootSecret();
  const identity = { custody, origin, mode };
  const owner = { identity, signer };
  try {
    return await withCustodyTpm(options, async (tpm) => {
      await provideCounter(tpm, counterIndex);
      const document = await withSealedStorage(
        tpm,
        () => undefined,
        async (storage) => {
          const sealed = await sealRootSecret(storage, owner, root);
          const first = await sealNewKey(storage, owner, root);
          const storageKeyName = storage.root.name;
          const made = { ...identity, storageKeyName, signer, counterIndex, closingPcr };
          return newTpmCustodyDocument(made, sealed, first);
        },
      );
      await writeSecretFile(options.path, document);
      return await readCounter(tpm, counterIndex);
    });
  } finally {
    root.fill(0);
  }
}

/** TPMs load these kinds of public keys; the largest RSA key that all of them take has 2048 bits. */
function requireSigner(key: PublicKey): void {
  const found = key.type === 'ec' ? key.curve : `RSA of ${key.modulus.length * 8} bits`;
  if (['P-256', 'P-384', 'RSA of 2048 bits', 'RSA of 3072 bits'].includes(found)) return;
  throw tpmCustodyUsageRefusals.error('custody-approval-key', {
    field: 'signer',
    expected: 'ECDSA on P-256 or P-384, or RSA of 2048 or 3072 bits',
    found,
  });
}

async function provideCounter(tpm: Tpm, index: number): Promise<void> {
  const indices = new NvIndices(tpm);
  const found = await indices.find(index);
  if (found === undefined) await indices.define(counterArea(index));
  const name = computeNvName(found ?? counterArea(index));
  if (equalBytes(name, computeNvName(writtenCounterArea(index)))) return;
  if (!equalBytes(name, computeNvName(counterArea(index)))) {
    throw tpmCustodyUsageRefusals.error('custody-counter-taken', {
      field: `NV index 0x${index.toString(16)}`,
      expected: 'nothing, or a counter of weightgate (KC-43)',
      found: 'another index',
    });
  }
  await incrementCounter(tpm, index);
}

/** What the TPM and the installed approvals say of a custody. */
export interface TpmCustodyStatus {
  readonly custody: string;
  readonly wrappingKeys: number;
  readonly counter: bigint;
  readonly pcrs: ApprovedPcrs;
  /** Versions of the approvals that were verified, and why others are of no use. */
  readonly approvals: readonly number[];
  readonly refused: readonly string[];
}

/**
 * @param pcrs whose values are wanted
 * @throws RefusalError `tpm-*`, `file-*`, `json-*`, `shape-mismatch`, `keyring-other-server`, `key-file-*`
 */
export async function readTpmCustodyStatus(
  options: TpmCustodyOptions,
  pcrs: readonly number[],
): Promise<TpmCustodyStatus> {
  const document = await readTpmCustodyFile(options.path, options);
  const { approvals, refused } = await readApprovalFolder(options.approvals, approvalRules(document));
  return await withCustodyTpm(options, async (tpm) => ({
    custody: document.custody,
    wrappingKeys: document.keys.length,
    counter: await readCounter(tpm, document.counterIndex),
    pcrs: await tpm.readPcrs(selectPcrs({ bank: POLICY_HASH, pcrs })),
    approvals: approvals.map(({ approvalVersion }) => approvalVersion),
    refused,
  }));
}

/**
 * Closes the custody until the machine starts again: from now on no process opens its wrapping keys, and those that
 * have them keep them (KC-48).
 *
 * @throws RefusalError `custody-not-closable`, `tpm-*`, `file-*`, `json-*`, `shape-mismatch`, `keyring-other-server`
 */
export async function closeUntilRestart(options: TpmCustodyOptions): Promise<void> {
  const { closingPcr } = await readTpmCustodyFile(options.path, options);
  if (closingPcr === null) {
    throw tpmCustodyUsageRefusals.error('custody-not-closable', {
      field: options.path,
      expected: 'a custody that was made with a closing PCR (KC-48)',
      found: 'one without',
    });
  }
  await withCustodyTpm(options, (tpm) => tpm.extendPcr(closingPcr, CLOSING_DIGEST));
}

/**
 * Makes every approval of a lower version useless, for good. Refused where then none would open the custody in the
 * state in which the machine is.
 *
 * @throws RefusalError `custody-tpm-not-approved`, `custody-approval-withdrawn`, `custody-version-far`, `tpm-*`, `file-*`
 */
export async function withdrawApprovalsBelow(options: TpmCustodyOptions, version: number): Promise<void> {
  const document = await readTpmCustodyFile(options.path, options);
  const { counterIndex } = document;
  const { approvals } = await readApprovalFolder(options.approvals, approvalRules(document));
  const numbers = [...new Set(approvals.flatMap((approval) => approval.pcrs.map(({ pcr }) => pcr)))];
  await withCustodyTpm(options, async (tpm) => {
    const values = await tpm.readPcrs(selectPcrs({ bank: POLICY_HASH, pcrs: numbers }));
    const pcrs = new Map(values.map(({ pcr, value }) => [pcr, value]));
    chooseApproval(approvals, { pcrs, counter: BigInt(version) }, options.approvals);
    const counter = await readCounter(tpm, counterIndex);
    requireNear(BigInt(version) - counter);
    for (let at = counter; at < BigInt(version); at += 1n) await incrementCounter(tpm, counterIndex);
  });
}

function requireNear(steps: bigint): void {
  if (steps <= MAX_WITHDRAWN_AT_ONCE) return;
  throw tpmCustodyPolicyRefusals.error('custody-version-far', {
    field: 'version',
    expected: `at most ${MAX_WITHDRAWN_AT_ONCE} above the counter`,
    found: `${steps} above it`,
  });
}
