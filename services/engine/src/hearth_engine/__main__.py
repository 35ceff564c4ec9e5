from hearth_engine.cli import main

main()
