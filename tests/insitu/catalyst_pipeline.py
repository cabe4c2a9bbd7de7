# script-version: 2.0
# The Catalyst script of catalyst_simulation.py: one .kdm for each step that the simulation delivers.
from paraview import catalyst
from paraview.simple import CreateExtractor, TrivialProducer

field = TrivialProducer(registrationName='field')
extractor = CreateExtractor('KDM', field, registrationName='step')
extractor.Writer.FileName = 'step_{timestep:04d}.kdm'
extractor.Writer.WriteAllTimeSteps = 0  # only the one that has just been computed
extractor.Writer.CompressionRatio = 20
extractor.Writer.Effort = 'Low'

options = catalyst.Options()
options.ExtractsOutputDirectory = '.'
