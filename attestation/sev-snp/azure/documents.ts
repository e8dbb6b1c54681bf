/** The operator's policy for machines of Azure (docs/spec/azure-vtpm.md, AZ-18): that of the report, of the TPM, and between. */

import type { JsonValue } from '../../core/canonical-json.ts';
import { anyShape, booleanShape, literalShape, objectShape } from '../../core/json-shape.ts';
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

export interface AzureVtpmPolicy {
  readonly allowConsole: boolean;
  readonly allowFilteredDevices: boolean;
  readonly allowInsecureBoot: boolean;
  /** Policy of the class `sev-snp`, which reads it. */
  readonly sevSnp: JsonValue;
  readonly tpm: TpmPolicy;
}

/** @throws RefusalError `shape-*`, `tpm-document` */
export function readAzureVtpmPolicy(value: JsonValue): AzureVtpmPolicy {
  const policy = policyShape(value, 'policy');
  return { ...policy, tpm: readTpmPolicy(policy.tpm) };
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
