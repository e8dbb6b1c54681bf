import type { IncomingMessage } from 'node:http';

import { beforeAll, describe, expect, it } from 'vitest';

import { toHex } from '../../../attestation/core/bytes.ts';
import { readCertificate } from '../../../attestation/core/x509.ts';
import { readGpuEvidence, readPemChain, type GpuEvidence } from '../../../attestation/nvidia-gpu/evidence.ts';
import {
  nrasCollateralName,
  NRAS_ISSUER,
  verifyNrasAnswer,
} from '../../../attestation/nvidia-gpu/nras/verify.ts';
import { makeGpu } from '../../../src/agent/simulated/nvidia-device.ts';
import {
  gatherRemoteResults,
  NvidiaRemoteService,
} from '../../../src/platform/collateral/nvidia-remote-service.ts';
import { respond, startKeyServer, type KeyServer } from '../../support/key-server.ts';
import { answerOver, goodGpu, keySet, NRAS_TIME, NrasSigner } from '../../support/nras-service.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';
import { evidenceOf, simulatedNvidia } from '../../support/simulated-gpu.ts';

const NONCE = new Uint8Array(32).fill(9);

let evidence: GpuEvidence;
let signer: NrasSigner;
beforeAll(async () => {
  const vendor = await simulatedNvidia();
  const device = await makeGpu(vendor.devices, { chip: 'GH100' });
  evidence = readGpuEvidence(await evidenceOf(device, NONCE), 'evidence');
  signer = new NrasSigner();
}, 60_000);

interface Question {
  readonly nonce: string;
  readonly arch: string;
  readonly claims_version: string;
  readonly evidence_list: readonly { readonly evidence: string; readonly certificate: string }[];
}

async function questionIn(incoming: IncomingMessage): Promise<Question> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of incoming as AsyncIterable<Uint8Array>) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString('utf8')) as Question;
}

const serviceAt = ({ options }: KeyServer): NvidiaRemoteService => new NvidiaRemoteService(options);

describe('the remote attestation service', () => {
  it('CO-19: is asked about one device, and its answer is one that the verifier takes', async () => {
    const questions: Question[] = [];
    const ueid = (der: Uint8Array): string =>
      BigInt(`0x${toHex(readCertificate(der, 'leaf').serialNumber)}`).toString();
    const server = await startKeyServer((incoming, outgoing) => {
      void questionIn(incoming).then((question) => {
        questions.push(question);
        const pem = new Uint8Array(Buffer.from(question.evidence_list[0]?.certificate ?? '', 'base64'));
        const [leaf = pem] = readPemChain(pem, 'certificate');
        const { driverVersion, vbiosVersion } = evidence.report.fields;
        const told = { ...goodGpu, eat_nonce: question.nonce, ueid: ueid(leaf) };
        const versions = {
          'x-nvidia-gpu-driver-version': driverVersion,
          'x-nvidia-gpu-vbios-version': vbiosVersion,
        };
        const token = signer.token({ ...told, ...versions });
        respond(outgoing, answerOver(signer, { 'GPU-0': token }, { eat_nonce: question.nonce }));
      });
    });
    const { collateral, failures } = await gatherRemoteResults(serviceAt(server), [evidence]);
    expect(failures).toEqual([]);
    expect(server.asked).toEqual(['/v4/attest/gpu']);
    const [leaf = new Uint8Array()] = evidence.certificates;
    expect([...collateral.keys()]).toEqual([nrasCollateralName({ encoded: leaf })]);
    expect(questions[0]).toMatchObject({ nonce: toHex(NONCE), arch: 'HOPPER', claims_version: '3.0' });
    const sent = Buffer.from(questions[0]?.evidence_list[0]?.evidence ?? '', 'base64');
    expect(new Uint8Array(sent)).toEqual(evidence.report.bytes);
    const { driverVersion, vbiosVersion } = evidence.report.fields;
    const { serialNumber: leafSerialNumber } = readCertificate(leaf, 'leaf');
    const verdict = await verifyNrasAnswer([...collateral.values()][0] ?? new Uint8Array(), {
      evidence: [{ kind: 'gpu', leafSerialNumber, driverVersion, vbiosVersion }],
      nonce: NONCE,
      issuer: NRAS_ISSUER,
      time: NRAS_TIME,
      keys: keySet(signer.jwk()),
      anchors: [signer.anchor()],
    });
    expect(verdict).toMatchObject({ outcome: 'accepted' });
  });

  it('CO-19: what it cannot say is a failure and no answer', async () => {
    const server = await startKeyServer((_incoming, outgoing) => {
      outgoing.writeHead(400).end('{}');
    });
    const { collateral, failures } = await gatherRemoteResults(serviceAt(server), [evidence]);
    expect(collateral.size).toBe(0);
    expect(failures.map(({ code }) => code)).toEqual(['nvidia-answer']);
    const large = await startKeyServer((_incoming, outgoing) => {
      respond(outgoing, new Uint8Array(64 * 1024 + 1));
    });
    expect(await refusalCodeAsync(() => serviceAt(large).ask(evidence))).toBe('nvidia-answer');
    const unknown = { ...evidence, certificates: [] };
    expect(await gatherRemoteResults(serviceAt(large), [unknown])).toMatchObject({ failures: [] });
    expect(large.asked).toHaveLength(1);
  });
});
