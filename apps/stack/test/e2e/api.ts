export { type Answer, ApiClient, type Job, type JobResult } from '@openservice/testkit';
