import { isRefusal } from '../../attestation/core/refusal.ts';

/** What the tests compare: the code of the refusal, or `accepted`. Any other error is the test's own failure. */
export function refusalCode(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return codeOf(error);
  }
  return 'accepted';
}

export async function refusalCodeAsync(action: () => Promise<unknown>): Promise<string> {
  try {
    await action();
  } catch (error) {
    return codeOf(error);
  }
  return 'accepted';
}

function codeOf(error: unknown): string {
  if (isRefusal(error)) return error.refusal.code;
  throw error;
}
