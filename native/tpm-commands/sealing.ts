/** Data that a TPM seals under a policy, and the policy sessions that open it. */

import { tpmHash } from '../../attestation/tpm/hash.ts';
import {
  Algorithm,
  type PcrSelectionList,
  type PublicArea,
  type Signature,
} from '../../attestation/tpm/layout.ts';
import { computeName } from '../../attestation/tpm/name.ts';
import { approvalMessage } from '../../attestation/tpm/policy-digest.ts';
import { sealedDataTemplate, storageRootKeyTemplate } from '../../attestation/tpm/sealing-templates.ts';
import { Handle, startAuthSession } from './commands.ts';
import * as commands from './sealing-commands.ts';
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

export class SealingTpm {
  private readonly tpm: Tpm;

  constructor(tpm: Tpm) {
    this.tpm = tpm;
  }

  /** Makes the storage root key for the time of some work. @throws RefusalError `tpm-*`, and those of `work` */
  async withStorageRootKey<T>(work: (key: LoadedKey) => Promise<T>): Promise<T> {
    const key = await this.tpm.createPrimary(Handle.owner, storageRootKeyTemplate);
    return await this.tpm.flushAfter(key.handle, () => work(key));
  }

  /** @param secret at most 128 bytes; stays the caller's, who zeroes it */
  async seal(parent: LoadedKey, policy: Uint8Array, secret: Uint8Array): Promise<SealedData> {
    const { parameters } = await this.tpm.run(commands.create, {
      handles: [parent.handle],
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
   * @param assertPolicy brings the session to the policy of the object
   * @returns the secret; the caller zeroes it
   */
  async unseal(
    parent: LoadedKey,
    { publicArea, privateArea }: SealedData,
    assertPolicy: (session: PolicySession) => Promise<void>,
  ): Promise<Uint8Array> {
    const { handle: object } = await this.tpm.run(commands.load, {
      handles: [parent.handle],
      parameters: { privateArea, publicArea },
    });
    return await this.tpm.flushAfter(object, () =>
      this.withPolicySession(async (session) => {
        await assertPolicy(session);
        const { parameters } = await this.tpm.run(commands.unseal, {
          handles: [object],
          sessions: [session.handle],
          parameters: {},
        });
        return parameters.data;
      }),
    );
  }

  async withPolicySession<T>(work: (session: PolicySession) => Promise<T>): Promise<T> {
    const { handle } = await this.tpm.run(startAuthSession, {
      handles: [Handle.null, Handle.null],
      parameters: {
        nonceCaller: crypto.getRandomValues(new Uint8Array(32)),
        encryptedSalt: EMPTY,
        type: 1,
        symmetric: Algorithm.null,
        hash: Algorithm.sha256,
      },
    });
    return await this.tpm.flushAfter(handle, () => work(new PolicySession(this.tpm, handle)));
  }
}

/** A session whose digest grows with what is asserted in it. Every assertion throws RefusalError `tpm-response`. */
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
  async assertNv(index: number, operation: number, operand: Uint8Array): Promise<void> {
    await this.tpm.run(commands.policyNv, {
      handles: [index, index, this.handle],
      parameters: { operand, offset: 0, operation },
    });
  }

  /** Replaces what was asserted by the fact that its signer approved it. */
  async authorize({ approvedPolicy, reference, signer, signature }: PolicyApproval): Promise<void> {
    // The ticket of a key under the null hierarchy is empty and proves nothing: the owner's is named.
    const { handle } = await this.tpm.run(commands.loadExternal, {
      handles: [],
      parameters: { privateArea: EMPTY, publicArea: signer, hierarchy: Handle.owner },
    });
    const digest = sha256.digest(approvalMessage(approvedPolicy, reference));
    const { ticket } = await this.tpm.flushAfter(
      handle,
      async () =>
        (
          await this.tpm.run(commands.verifySignature, {
            handles: [handle],
            parameters: { digest, signature },
          })
        ).parameters,
    );
    await this.tpm.run(commands.policyAuthorize, {
      handles: [this.handle],
      parameters: { approvedPolicy, reference, signerName: computeName(signer), ticket },
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
