"""The embedded AWS: one loopback address that answers every AWS service.

SageMaker hosting (endpoints, their configurations, InvokeEndpoint) is answered by real child processes of the inference
server; every other call goes to moto, in this process. `infra.cloud.control` starts and stops it.
"""
