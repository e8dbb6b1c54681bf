import { describe, expect, it } from 'vitest';

import { fromBase64, toBase64 } from '../../attestation/core/bytes.ts';
import { encodeCanonicalJson, type JsonValue } from '../../attestation/core/canonical-json.ts';
import { encode } from '../../attestation/core/layout.ts';
import { ObjectAttribute, publicArea } from '../../attestation/tpm/layout.ts';
import { enrol, requestRelease } from '../../src/agent/key-release.ts';
import { encodeEnvelope, signEnvelope } from '../../src/platform/dsse.ts';
import { AUTHORITY_EXTENSIONS, issueCertificate, makeAuthority, rsaKeys } from '../support/certificates.ts';
import { makeEnrollableTpm } from '../support/enrolled-tpm.ts';
import { signerOf } from '../support/governance.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { SUBJECT, TestServer } from '../support/release-server.ts';

const ENROLMENT_TYPE = 'application/vnd.weightgate.enrolment-request.v1+json';

interface Offer {
  readonly enrolment: string;
  readonly credentialBlob: string;
  readonly encryptedSecret: string;
  readonly expiresAt: number;
}

/** The right request for this TPM, with changes. */
async function begin(
  server: TestServer,
  changes: Record<string, JsonValue> = {},
  signer = 'lab one',
): Promise<Offer> {
  const { enrolling } = server.tpm;
  const message = {
    version: 1,
    lab: 'lab-one',
    endorsementCertificate: toBase64(enrolling.endorsementCertificate),
    endorsementChain: [],
    attestationKey: toBase64(enrolling.attestationKey),
    anew: false,
    ...changes,
  };
  const envelope = await signEnvelope(ENROLMENT_TYPE, encodeCanonicalJson(message), [signerOf(signer)]);
  return (await server.client.post('/v1/enrolments', encodeEnvelope(envelope))) as unknown as Offer;
}

async function answer(server: TestServer, enrolment: string, credential: Uint8Array): Promise<JsonValue> {
  const body = encodeCanonicalJson({ version: 1, credential: toBase64(credential) });
  return await server.client.post(`/v1/enrolments/${enrolment}/activation`, body);
}

async function open(server: TestServer, offer: Offer): Promise<Uint8Array> {
  const blob = fromBase64(offer.credentialBlob, 'credentialBlob');
  return await server.tpm.enrolling.activate(blob, fromBase64(offer.encryptedSecret, 'encryptedSecret'));
}

describe('enrolment of a TPM', () => {
  it('RP-12: a right answer is logged and confirmed with the Name', async () => {
    const server = await TestServer.createReady();
    await enrol(server.agent(), server.tpm.enrolling);
    expect(await server.lastEntry()).toMatchObject({
      type: 'enrolment',
      lab: 'lab-one',
      attestationKeyName: Buffer.from(server.tpm.enrolling.attestationKeyName).toString('hex'),
      endorsementKeyDigest: server.tpm.endorsementKeyDigest,
      simulated: true,
    });
  });

  it('RP-11: a wrong answer ends the enrolment, so that the right one comes too late', async () => {
    const server = await TestServer.createReady();
    const offer = await begin(server);
    const credential = await open(server, offer);
    const wrong = Uint8Array.from(credential, (byte) => byte ^ 1);
    expect(await refusalCodeAsync(() => answer(server, offer.enrolment, wrong))).toBe('enrolment-answer');
    expect(await refusalCodeAsync(() => answer(server, offer.enrolment, credential))).toBe(
      'enrolment-unknown',
    );
  });

  it('RP-11: a credential is used once', async () => {
    const server = await TestServer.createReady();
    const offer = await begin(server);
    const credential = await open(server, offer);
    expect(credential).toHaveLength(32);
    await answer(server, offer.enrolment, credential);
    expect(await refusalCodeAsync(() => answer(server, offer.enrolment, credential))).toBe(
      'enrolment-unknown',
    );
  });

  it('RP-11: a credential expires after 120 seconds', async () => {
    const server = await TestServer.createReady();
    const offer = await begin(server);
    expect(offer.expiresAt - server.clock.posixSeconds()).toBe(120);
    server.clock.advance(120);
    const credential = await open(server, offer);
    expect(await refusalCodeAsync(() => answer(server, offer.enrolment, credential))).toBe(
      'enrolment-unknown',
    );
  });

  it('RP-8: only a key of the lab may ask', async () => {
    const server = await TestServer.createReady();
    expect(await refusalCodeAsync(() => begin(server, {}, 'somebody else'))).toBe('request-signature');
    expect(await refusalCodeAsync(() => begin(server, { lab: 'lab-two' }))).toBe('request-signature');
  });

  it('RP-9: a certificate of an authority that the operator did not accept is refused', async () => {
    const server = await TestServer.createReady();
    const keys = rsaKeys('endorsement key of rack-1');
    const stranger = issueCertificate(makeAuthority('Another vendor'), {
      subject: 'x',
      keys,
      extensions: AUTHORITY_EXTENSIONS,
    });
    const request = { endorsementCertificate: toBase64(stranger) };
    expect(await refusalCodeAsync(() => begin(server, request))).toBe('path-untrusted');
  });

  it('RP-9: a TPM that is not in the accreditation of the lab is refused', async () => {
    const server = await TestServer.createReady();
    const other = await makeEnrollableTpm('rack-9');
    expect(await refusalCodeAsync(() => enrol(server.agent(), other.enrolling))).toBe('enrolment-machine');
  });

  it('RP-10: a key that is not an attestation key gets no credential', async () => {
    const server = await TestServer.createReady();
    const area = server.tpm.software.publicArea;
    const objectAttributes = area.objectAttributes & ~ObjectAttribute.restricted;
    const attestationKey = toBase64(encode(publicArea, { ...area, objectAttributes }, 'publicArea'));
    expect(await refusalCodeAsync(() => begin(server, { attestationKey }))).toBe('tpm-ak-attributes');
  });

  it('EV-17: enrolling again does not forget how far the clock of the TPM had come', async () => {
    const server = await TestServer.createReady();
    await enrol(server.agent(), server.tpm.enrolling);
    await requestRelease(server.agent(), SUBJECT, [server.tpm.attester]);
    await enrol(server.agent(), server.tpm.enrolling);
    server.tpm.clock.clock = 1n;
    const again = (): Promise<unknown> => requestRelease(server.agent(), SUBJECT, [server.tpm.attester]);
    expect(await refusalCodeAsync(again)).toBe('tpm-clock-rollback');
  });
});
