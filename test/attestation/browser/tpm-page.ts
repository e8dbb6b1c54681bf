/** What the browser runs: the verifier as it is, over evidence that the test left in the page. */

import { fromHex } from '../../../attestation/core/bytes.ts';
import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import { NO_COMPANIONS } from '../../../attestation/core/composite/companions.ts';
import { tpmDeviceClass } from '../../../attestation/tpm/device-class.ts';

/** One question to the verifier. Bytes are in hexadecimal, because the page carries them as JSON. */
export interface BrowserCase {
  readonly evidence: JsonValue;
  readonly expectedDeviceValue: string;
  readonly lab: string;
  readonly time: number;
  readonly anchors: readonly {
    readonly name: string;
    readonly certificate: string;
    readonly simulated: boolean;
  }[];
  readonly enrolment: JsonValue;
  readonly referenceValues: readonly JsonValue[];
  readonly policy: JsonValue;
}

async function judge(question: BrowserCase): Promise<string> {
  const evidence = tpmDeviceClass.parse(question.evidence, 'evidence');
  const verdict = await tpmDeviceClass.verify(evidence, {
    ...question,
    expectedDeviceValue: fromHex(question.expectedDeviceValue, 'expectedDeviceValue'),
    companionsDigest: NO_COMPANIONS,
    collateral: new Map(),
    anchors: question.anchors.map((anchor) => ({
      ...anchor,
      certificate: fromHex(anchor.certificate, 'certificate'),
    })),
  });
  return verdict.outcome === 'accepted' ? 'accepted' : verdict.refusals.map(({ code }) => code).join(' ');
}

const cases = (await (await fetch('/data')).json()) as readonly BrowserCase[];
const answers = await Promise.all(cases.map(judge));
await fetch('/answer', { method: 'POST', body: answers.join(', ') });
