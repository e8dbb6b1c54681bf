/** Derives logged decisions again from evidence stores, by the functions that the server decides by (RD-4). */

import { fromBase64 } from '../../attestation/core/bytes.ts';
import { CertificateMemory } from '../../attestation/core/certificate-memory.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import { encodeCanonicalJson } from '../../attestation/core/canonical-json.ts';
import type { GovernanceState } from '../governance/state.ts';
import { encodeEnvelope } from '../platform/dsse.ts';
import type { DecisionDeriver, Rederived } from '../policy/rederived.ts';
import type { ReleasePolicyEngine } from '../policy/release-policy.ts';
import {
  decodeAuthorities,
  decodeInputs,
  partsOf,
  type Authorities,
  type DecisionInputs,
} from './decision-inputs.ts';
import { admitRequest, deriveDecision, judgeRequest, readReleaseRequest } from './derivation.ts';
import { DEVICE_CLASSES } from './device-classes.ts';
import type { EvidenceBasis, Verifier } from './evidence.ts';
import type { EvidenceStore } from './evidence-store.ts';
import { RELEASE_REQUEST_TYPE } from './messages.ts';

type ReadableStore = Pick<EvidenceStore, 'find' | 'findDeletion'>;

/** Contents of a decision, all of them there. */
type Contents = ReadonlyMap<string, Uint8Array>;

export class Rederivation implements DecisionDeriver {
  private readonly stores: readonly ReadableStore[];
  private readonly engine: ReleasePolicyEngine;
  private readonly withoutAuthorities: ReadonlySet<string>;
  private readonly memory = new CertificateMemory();
  /** By digest of their document. */
  private readonly verifiers = new Map<string, Verifier>();
  private readonly leftOut = new Set<string>();

  /**
   * @param stores of all servers of the log; what one does not have another may
   * @param withoutAuthorities `class/name` of authorities that are not to count, to see what would have been decided
   */
  constructor(
    stores: readonly ReadableStore[],
    engine: ReleasePolicyEngine,
    withoutAuthorities: ReadonlySet<string> = new Set(),
  ) {
    this.stores = stores;
    this.engine = engine;
    this.withoutAuthorities = withoutAuthorities;
  }

  /** `class/name` of authorities that some decision had and that were left out. */
  get authoritiesLeftOut(): ReadonlySet<string> {
    return this.leftOut;
  }

  /** Those that were met, by the digest of their document. */
  get authorities(): ReadonlyMap<string, Authorities> {
    return new Map([...this.verifiers].map(([digest, { anchors }]) => [digest, anchors]));
  }

  async derive(state: GovernanceState, inputsDigest: string): Promise<Rederived> {
    const document = this.find(inputsDigest);
    if (document === undefined) return this.absent(inputsDigest);
    try {
      const inputs = decodeInputs(document);
      const contents = new Map<string, Uint8Array>();
      for (const digest of partsOf(inputs)) {
        const content = this.find(digest);
        if (content === undefined) return { found: 'missing', digest };
        contents.set(digest, content);
      }
      return await this.deriveFrom(state, inputsDigest, inputs, contents);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      return { found: 'refusal', refusal: error.refusal };
    }
  }

  private async deriveFrom(
    state: GovernanceState,
    inputsDigest: string,
    inputs: DecisionInputs,
    contents: Contents,
  ): Promise<Rederived> {
    const { receivedAt, authoritiesDigest } = inputs;
    const nonce = fromBase64(inputs.challenge.nonce, 'inputs.challenge.nonce');
    const request = readReleaseRequest(envelopeOf(inputs, contents));
    const admitted = admitRequest(state, request, { ...inputs.challenge, nonce }, receivedAt);
    const verifier = this.verifierOf(authoritiesDigest, contents);
    const basis = basisOf(inputs, contents);
    const judged = await judgeRequest(verifier, state, admitted, receivedAt, () => basis);
    const { entry } = deriveDecision(this.engine, state, admitted, judged, inputs, inputsDigest);
    return { found: 'entry', entry, authoritiesDigest };
  }

  private find(digest: string): Uint8Array | undefined {
    for (const store of this.stores) {
      const content = store.find(digest);
      if (content !== undefined) return content;
    }
    return undefined;
  }

  private absent(inputsDigest: string): Rederived {
    const deletions = this.stores.map((store) => store.findDeletion(inputsDigest));
    const deletion = deletions.find((found) => found !== undefined);
    return deletion === undefined
      ? { found: 'missing', digest: inputsDigest }
      : { found: 'deleted', ...deletion };
  }

  private verifierOf(digest: string, contents: Contents): Verifier {
    const known = this.verifiers.get(digest);
    if (known !== undefined) return known;
    const anchors = this.restrict(decodeAuthorities(contentOf(contents, digest)));
    const verifier = { registry: DEVICE_CLASSES, anchors, memory: this.memory };
    this.verifiers.set(digest, verifier);
    return verifier;
  }

  private restrict(authorities: Authorities): Authorities {
    const isLeftOut = (deviceClass: string, name: string): boolean => {
      const place = `${deviceClass}/${name}`;
      if (!this.withoutAuthorities.has(place)) return false;
      this.leftOut.add(place);
      return true;
    };
    return new Map(
      [...authorities].map(([deviceClass, anchors]) => [
        deviceClass,
        anchors.filter(({ name }) => !isLeftOut(deviceClass, name)),
      ]),
    );
  }
}

function contentOf(contents: Contents, digest: string): Uint8Array {
  const content = contents.get(digest);
  if (content === undefined) throw new Error(`${digest} is no part of this decision`);
  return content;
}

/** The body of the request, as the lab sent it. */
function envelopeOf(
  { requestDigest, signature: { keyid, sig } }: DecisionInputs,
  contents: Contents,
): Uint8Array {
  const signature = fromBase64(sig, 'inputs.signature.sig');
  return encodeEnvelope({
    payloadType: RELEASE_REQUEST_TYPE,
    payload: contentOf(contents, requestDigest),
    signatures: [keyid === null ? { signature } : { keyid, signature }],
  });
}

function basisOf(inputs: DecisionInputs, contents: Contents): EvidenceBasis {
  const { machines, collateral, collateralFailures } = inputs;
  return {
    machines: machines.map((machine) => ({ ...machine, record: encodeCanonicalJson(machine.record) })),
    collateral: new Map(collateral.map(({ name, digest }) => [name, contentOf(contents, digest)])),
    failures: collateralFailures,
  };
}
