/** Writes down what a decision is derived from, before it is (docs/spec/replay.md, RD-1 and RD-2). */

import { toBase64 } from '../../attestation/core/bytes.ts';
import {
  digested,
  encodeAuthorities,
  encodeInputs,
  type Authorities,
  type DecisionInputs,
  type Digested,
} from './decision-inputs.ts';
import { loggedRefusal, type AdmittedRequest } from './derivation.ts';
import type { EvidenceBasis } from './evidence.ts';
import type { KeptInputs } from './evidence-store.ts';
import { readMachineRecord } from './machine-record.ts';
import type { StandingFacts } from './standing.ts';
import type { KnownMachine } from './storage.ts';

/** What the server adds to a request when it decides. */
type DecisionTerms = Pick<DecisionInputs, 'receivedAt' | 'decidedAt' | 'lease' | 'serverBuild'>;

/** Authorities are read once, and described once. */
const described = new WeakMap<Authorities, Digested>();

function describe(authorities: Authorities): Digested {
  const known = described.get(authorities) ?? encodeAuthorities(authorities);
  described.set(authorities, known);
  return known;
}

/** The inputs of a decision, with all parts that they name. */
export function gatherInputs(
  { request, challenge }: AdmittedRequest,
  basis: EvidenceBasis,
  { liveStarts, renewedLease, holdsModelKey }: StandingFacts,
  terms: DecisionTerms,
  authorities: Authorities,
): KeptInputs & { readonly document: DecisionInputs } {
  const configured = describe(authorities);
  const collateral = [...basis.collateral].map(([name, bytes]) => ({ name, ...digested(bytes) }));
  const { payload } = request.envelope;
  const { nonce, lab, manifestDigest, expiresAt, opened } = challenge;
  const document: DecisionInputs = {
    version: 1,
    requestDigest: request.payloadDigest,
    signature: signatureOf(request),
    challenge: { nonce: toBase64(nonce), lab, manifestDigest, expiresAt, opened },
    ...terms,
    authoritiesDigest: configured.digest,
    collateral: collateral.map(({ name, digest }) => ({ name, digest })),
    collateralFailures: basis.failures.map(loggedRefusal),
    machines: basis.machines.map(machineDocument),
    liveStarts: [...liveStarts].sort(),
    renewedLease: renewedLease && { ...renewedLease },
    holdsModelKey,
  };
  const parts = [{ digest: request.payloadDigest, bytes: payload }, configured, ...collateral];
  return { document, inputs: encodeInputs(document), parts, decidedAt: terms.decidedAt };
}

/** Reading the request made sure that there is exactly one. */
function signatureOf({ envelope }: AdmittedRequest['request']): DecisionInputs['signature'] {
  const [signature] = envelope.signatures;
  return { keyid: signature?.keyid ?? null, sig: toBase64(signature?.signature ?? new Uint8Array(0)) };
}

function machineDocument(machine: KnownMachine): DecisionInputs['machines'][number] {
  const { identity, attestationKeyName, endorsementKeyDigest, record, moved } = machine;
  return { identity, attestationKeyName, endorsementKeyDigest, record: readMachineRecord(record), moved };
}
