/** The operator's policy for machines of Azure (docs/spec/azure-vtpm.md, AZ-18): that of the report, of the TPM, and between. */

import type { JsonValue } from '../../core/canonical-json.ts';
import { anyShape, booleanShape, literalShape, objectShape } from '../../core/json-shape.ts';
import { defineRefusals } from '../../core/refusal.ts';
import { readPolicy as readTpmPolicy, readReferenceValues as readTpmReference } from '../../tpm/documents.ts';
import type { TpmPolicy, TpmReferenceValues } from '../../tpm/documents.ts';

const policyShape = objectShape({
  version: literalShape(1),
  class: literalShape('azure-vtpm'),
  allowConsole: booleanShape,
  allowFilteredDevices: booleanShape,
  allowInsecureBoot: booleanShape,
  sevSnp: anyShape,
  tpm: anyShape,
});

export const azureDocumentRefusals = defineRefusals('malformed', {
  'azure-boot-rules': {
    means:
      'A policy for machines of Azure has rules for the logs of a boot, which such evidence does not carry.',
    hint: 'Write any for the boot of the virtual TPM, and judge its registers by reference values.',
  },
  'azure-ratchet': {
    means: 'A policy for machines of Azure asks for a ratchet, which such evidence does not carry.',
    hint: 'Write none for the ratchet of the virtual TPM.',
  },
});

export interface AzureVtpmPolicy {
  readonly allowConsole: boolean;
  readonly allowFilteredDevices: boolean;
  readonly allowInsecureBoot: boolean;
  /** Policy of the class `sev-snp`, which reads it. */
  readonly sevSnp: JsonValue;
  readonly tpm: TpmPolicy;
}

/** @throws RefusalError `shape-*`, `tpm-document`, `azure-boot-rules`, `azure-ratchet` */
export function readAzureVtpmPolicy(value: JsonValue): AzureVtpmPolicy {
  const policy = policyShape(value, 'policy');
  const tpm = readTpmPolicy(policy.tpm);
  if (tpm.ratchet !== 'none') {
    throw azureDocumentRefusals.error('azure-ratchet', {
      field: 'policy.tpm.ratchet',
      expected: 'none',
      found: tpm.ratchet,
    });
  }
  if (tpm.boot === 'any') return { ...policy, tpm };
  throw azureDocumentRefusals.error('azure-boot-rules', {
    field: 'policy.tpm.boot',
    expected: 'any',
    found: 'rules',
  });
}

/** Reference values of both classes, told apart by their `class`. */
export interface AzureVtpmReferenceValues {
  /** Those of the class `sev-snp`, which reads them: the paravisor's measurements, minimum TCBs. */
  readonly sevSnp: readonly JsonValue[];
  readonly tpm: readonly TpmReferenceValues[];
}

/** @throws RefusalError `shape-*`, `tpm-document` */
export function readAzureVtpmReferenceValues(values: readonly JsonValue[]): AzureVtpmReferenceValues {
  return {
    sevSnp: values.filter((value) => !isOfTpm(value)),
    tpm: values.filter(isOfTpm).map(readTpmReference),
  };
}

function isOfTpm(value: JsonValue): boolean {
  return typeof value === 'object' && value !== null && 'class' in value && value['class'] === 'tpm';
}
