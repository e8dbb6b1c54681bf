/** What a fixture of the contract test is made of; the battery itself is attestation/conformance/. */

export type { DeviceFixture, Document, SignedWrong } from '../../../attestation/conformance/fixture.ts';
