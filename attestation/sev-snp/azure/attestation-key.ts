/**
 * The attestation key of an Azure machine's virtual TPM (docs/spec/azure-vtpm.md, section 3). The runtime claims hold
 * its modulus alone. The paravisor makes every such key from one template, so its public area, Name and qualified Name
 * follow from the modulus; a quote by a key of another template names another signer and is refused.
 */

import { defineChecks } from '../../core/verdict.ts';
import type { Checklist } from '../../core/verdict.ts';
import { checkAttestationKey } from '../../tpm/attestation-key.ts';
import type { AttestationKey } from '../../tpm/attestation-key.ts';
import { Algorithm, ObjectAttribute } from '../../tpm/layout.ts';
import type { RsaPublicArea } from '../../tpm/layout.ts';
import { computeQualifiedName, Hierarchy, hierarchyName } from '../../tpm/name.ts';
import type { RuntimeKey } from './runtime-claims.ts';

export const attestationKeyChecks = defineChecks('inauthentic', {
  'azure-ak-use': {
    means: 'The runtime claims do not mark the attestation key as one that signs.',
    hint: 'Restart the machine, so that it runs a current paravisor.',
    protects: 'A key of another use could be made to answer for the attestation key.',
  },
});

const ATTRIBUTES =
  ObjectAttribute.fixedTPM |
  ObjectAttribute.fixedParent |
  ObjectAttribute.sensitiveDataOrigin |
  ObjectAttribute.userWithAuth |
  ObjectAttribute.noDA |
  ObjectAttribute.restricted |
  ObjectAttribute.sign;

/** The public area of the key with this modulus: RSA 2048, RSASSA with SHA-256, in the endorsement hierarchy. */
export function attestationKeyArea(modulus: Uint8Array): RsaPublicArea {
  return {
    type: Algorithm.rsa,
    nameAlgorithm: Algorithm.sha256,
    objectAttributes: ATTRIBUTES,
    authPolicy: new Uint8Array(0),
    parameters: {
      symmetric: { algorithm: Algorithm.null },
      scheme: { algorithm: Algorithm.rsassa, hash: Algorithm.sha256 },
      keyBits: 2048,
      exponent: 0,
    },
    unique: modulus,
  };
}

export interface AzureAttestationKey extends AttestationKey {
  /** The one place in the TPM's hierarchies from which the key may sign. */
  readonly qualifiedName: Uint8Array;
}

/**
 * Takes the key out of authentic runtime claims.
 *
 * @throws RefusalError `azure-ak-use`, `tpm-ak-*`, `public-key-*`
 */
export function readAttestationKey(claimed: RuntimeKey, checks: Checklist): AzureAttestationKey {
  checks.demand(
    attestationKeyChecks,
    'azure-ak-use',
    claimed.key_ops.every((use) => use === 'sign'),
    {
      field: 'claims.keys.key_ops',
      expected: 'sign',
      found: claimed.key_ops.join(', '),
    },
  );
  const key = checkAttestationKey(attestationKeyArea(claimed.n), checks);
  return { ...key, qualifiedName: computeQualifiedName(hierarchyName(Hierarchy.endorsement), key.name) };
}
