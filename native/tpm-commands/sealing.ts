/** Data that a TPM seals under a policy, and the policy sessions that open it. */

import { isRefusal } from '../../attestation/core/refusal.ts';
import { tpmHash } from '../../attestation/tpm/hash.ts';
import {
  Algorithm,
  type PcrSelectionList,
  type PublicArea,
  type Signature,
} from '../../attestation/tpm/layout.ts';
import { computeName } from '../../attestation/tpm/name.ts';
import { computeNvName, type NvPublicArea } from '../../attestation/tpm/nv-index.ts';
import { approvalMessage } from '../../attestation/tpm/policy-digest.ts';
import { sealedDataTemplate, storageRootKeyTemplate } from '../../attestation/tpm/sealing-templates.ts';
import { Handle } from './commands.ts';
import { SaltKey } from './salt-key.ts';
import * as commands from './sealing-commands.ts';
import { tpmSealingRefusals } from './sealing-refusals.ts';
import type { LoadedKey, Tpm } from './tpm.ts';

const EMPTY = new Uint8Array(0);
const sha256 = tpmHash(Algorithm.sha256, 'nameAlgorithm');

/** A sealed object as it is kept outside of the TPM: only the TPM that made it can read the private part. */
export interface SealedData {
  readonly publicArea: PublicArea;
  readonly privateArea: Uint8Array;
}

/** An approval of a policy by a key outside of the TPM. */
export interface PolicyApproval {
  readonly approvedPolicy: Uint8Array;
  readonly reference: Uint8Array;
  readonly signer: PublicArea;
  /** Over `approvalMessage` of the two. */
  readonly signature: Signature;
}

/** Increments a counter under the empty authorization of the owner. @throws RefusalError `tpm-*` */
export async function incrementCounter(tpm: Tpm, index: number): Promise<void> {
  await tpm.run(commands.nvIncrement, { handles: [Handle.owner, index], parameters: {} });
}

/**
 * Does work below the storage root key, which stays loaded meanwhile. All commands go through a session whose salt is
 * encrypted for that key, so that nobody on the way to the TPM sees or changes what is sealed and unsealed.
 *
 * @param checkRoot throws unless the key is the one that the caller knows, or the caller meets this TPM first
 * @throws RefusalError `tpm-*`, those of `checkRoot` and of `work`
 */
export async function withSealedStorage<T>(
  tpm: Tpm,
  checkRoot: (root: LoadedKey) => void,
  work: (storage: SealedStorage) => Promise<T>,
): Promise<T> {
  const root = await tpm.createPrimary(Handle.owner, storageRootKeyTemplate);
  return await tpm.flushAfter(root.handle, async () => {
    checkRoot(root);
    const saltKey = SaltKey.ofKeptName(root.handle, root.publicArea, root.name);
    return await tpm.withSaltedSession(saltKey, (protectedTpm) =>
      work(new SealedStorage(protectedTpm, root)),
    );
  });
}

export class SealedStorage {
  readonly root: LoadedKey;
  private readonly tpm: Tpm;

  constructor(tpm: Tpm, root: LoadedKey) {
    this.tpm = tpm;
    this.root = root;
  }

  /** @param secret at most 128 bytes; stays the caller's, who zeroes it */
  async seal(policy: Uint8Array, secret: Uint8Array): Promise<SealedData> {
    const { parameters } = await this.tpm.run(commands.create, {
      handles: [this.root],
      parameters: {
        sensitive: { userAuth: EMPTY, data: secret },
        template: sealedDataTemplate(policy),
        outsideInfo: EMPTY,
        creationPcrs: [],
      },
    });
    return { publicArea: parameters.publicArea, privateArea: parameters.privateArea };
  }

  /**
   * The policy comes before the object is loaded: where a TPM has three places, root, signer and object fill them.
   *
   * @param assertPolicy brings the session to the policy of the object
   * @returns the secret; the caller zeroes it
   * @throws RefusalError `tpm-sealed-other`, `tpm-*`, and those of `assertPolicy`
   */
  async unseal(
    { publicArea, privateArea }: SealedData,
    assertPolicy: (session: PolicySession) => Promise<void>,
  ): Promise<Uint8Array> {
    return await this.withPolicySession(async (session) => {
      await assertPolicy(session);
      const handle = await this.load({ publicArea, privateArea });
      return await this.tpm.flushAfter(handle, () =>
        this.unsealLoaded({ handle, name: computeName(publicArea) }, session),
      );
    });
  }

  /** @throws RefusalError `tpm-sealed-other`, `tpm-*` */
  private async load({ publicArea, privateArea }: SealedData): Promise<number> {
    const parameters = { privateArea, publicArea };
    try {
      return (await this.tpm.run(commands.load, { handles: [this.root], parameters })).handle;
    } catch (cause) {
      if (!isRefusal(cause) || cause.refusal.code !== 'tpm-response') throw cause;
      const { expected, found } = cause.refusal;
      throw tpmSealingRefusals.error('tpm-sealed-other', { field: 'sealed', expected, found }, { cause });
    }
  }

  private async unsealLoaded(
    object: { readonly handle: number; readonly name: Uint8Array },
    session: PolicySession,
  ): Promise<Uint8Array> {
    const { parameters } = await this.tpm.run(commands.unseal, {
      handles: [object],
      sessions: [session.handle],
      parameters: {},
    });
    return parameters.data;
  }

  async withPolicySession<T>(work: (session: PolicySession) => Promise<T>): Promise<T> {
    const { handle } = await this.tpm.startPolicySession();
    return await this.tpm.flushAfter(handle, () => work(new PolicySession(this.tpm, handle)));
  }
}

/** A session whose digest grows with what is asserted in it. Every assertion throws RefusalError `tpm-*`. */
export class PolicySession {
  readonly handle: number;
  private readonly tpm: Tpm;

  constructor(tpm: Tpm, handle: number) {
    this.tpm = tpm;
    this.handle = handle;
  }

  /** Asserts the selected PCRs as they are now. */
  async assertPcrs(selection: PcrSelectionList): Promise<void> {
    await this.tpm.run(commands.policyPcr, {
      handles: [this.handle],
      parameters: { pcrDigest: EMPTY, selection },
    });
  }

  /** Asserts how the content of an index, which the empty password reads, compares with the operand. */
  async assertNv(area: NvPublicArea, operation: number, operand: Uint8Array): Promise<void> {
    const index = { handle: area.index, name: computeNvName(area) };
    await this.tpm.run(commands.policyNv, {
      handles: [index, index, this.handle],
      parameters: { operand, offset: 0, operation },
    });
  }

  /** Replaces what was asserted by the fact that its signer approved it. */
  async authorize({ approvedPolicy, reference, signer, signature }: PolicyApproval): Promise<void> {
    const name = computeName(signer);
    // The ticket of a key under the null hierarchy is empty and proves nothing: the owner's is named.
    const { handle } = await this.tpm.run(commands.loadExternal, {
      handles: [],
      parameters: { privateArea: EMPTY, publicArea: signer, hierarchy: Handle.owner },
    });
    const digest = sha256.digest(approvalMessage(approvedPolicy, reference));
    const { parameters } = await this.tpm.flushAfter(handle, () =>
      this.tpm.run(commands.verifySignature, {
        handles: [{ handle, name }],
        parameters: { digest, signature },
      }),
    );
    await this.tpm.run(commands.policyAuthorize, {
      handles: [this.handle],
      parameters: { approvedPolicy, reference, signerName: name, ticket: parameters.ticket },
    });
  }

  async digest(): Promise<Uint8Array> {
    const { parameters } = await this.tpm.run(commands.policyGetDigest, {
      handles: [this.handle],
      parameters: {},
    });
    return parameters.policyDigest;
  }
}
